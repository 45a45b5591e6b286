// What a person says of pictures: kept, saved, and told when it is not.
//
// With `gallery --serve` every word is sent to the folder at once, and again until it is there. A page that was
// opened from disk may write nothing: it keeps what was said in the browser, and gives it out as the very files
// that would have been written.
"use strict";

(() => {
  const { el, words } = Gallery;
  Gallery.canRate = true;
  const OF_PICTURE = ["folder", "id", "image", "row_key", "sha256"];
  const SAYS = ["rating", "verdict", "rating_note"];
  const MOST_AT_ONCE = 500;
  const MOST_CHARS = 1_000_000; // in one message; one alone is always fewer than the server takes
  const AGAIN_MS = [500, 1000, 2000, 5000];
  const canSave = document.documentElement.dataset.saves === "yes";
  const place = canSave ? location.pathname.replace(/^\/[^/]*/, "") : location.pathname;
  const KEPT = `nanobanana-batch said ${place}`;

  const ratings = new Map(); // by picture: what was said here and is not known to be in a file
  const choices = new Map(); // by pair: every one that is known
  const unsavedChoices = new Map();
  let isSending = false;
  let failure = "";
  let tries = 0;
  let isFull = false; // the browser keeps no more

  const keyOf = (record) => [record.folder, record.row_key, record.sha256].join(" ");
  const pairKey = (one, other) => [keyOf(one), keyOf(other)].sort().join(" ");
  const names = (record) => Object.fromEntries(OF_PICTURE.map((name) => [name, record[name]]));
  const says = (record) => Object.fromEntries(SAYS.map((name) => [name, record[name] ?? (name === "rating_note" ? "" : null)]));
  const whole = (text) => text.replace(/\p{Surrogate}/gu, "\ufffd"); // half an emoji is no text
  const isSame = (one, other) => SAYS.every((name) => (one[name] || null) === (other[name] || null));

  // --- kept in the browser --------------------------------------------------------------------------------------

  function keep() {
    try {
      if (!ratings.size && !unsavedChoices.size) localStorage.removeItem(KEPT);
      else localStorage.setItem(KEPT, JSON.stringify({ ratings: [...ratings.values()], choices: [...unsavedChoices.values()] }));
      isFull = false;
    } catch {
      isFull = true;
    }
    show();
  }

  function kept() {
    try {
      const found = JSON.parse(localStorage.getItem(KEPT) || "{}");
      return { ratings: found.ratings || [], choices: found.choices || [] };
    } catch {
      return { ratings: [], choices: [] };
    }
  }

  // --- what was said before -------------------------------------------------------------------------------------

  // Where a picture is now: where it was, or, in a gallery that was built anew, where its id is.
  async function find(told) {
    const isIt = async (item) => {
      const record = item < Gallery.summary.items ? await Gallery.fetchItem(item) : undefined;
      return record && keyOf(record) === keyOf(told) ? record : undefined;
    };
    const there = await isIt(told.item);
    if (there) return [told.item, there];
    const size = Gallery.summary.in_a_block;
    for (let number = 0; number * size < Gallery.summary.items; number += 1) {
      const block = await Gallery.load("find", number);
      for (const [at, id] of (block?.ids || []).entries()) {
        if (id !== told.id) continue;
        const record = await isIt(number * size + at);
        if (record) return [number * size + at, record];
      }
    }
    return [null, null];
  }

  async function remember(told, isFile) {
    const [item, record] = await find(told);
    if (!record) return isFile || ratings.set(keyOf(told), told); // of another selection, or gone: kept, not shown
    const now = says(record);
    if (isFile || isSame(now, told.was)) {
      if (!isFile) ratings.set(keyOf(told), { ...told, item });
      if (!isSame(now, told)) await Gallery.change(item, says(told));
    }
    return undefined; // else the file says something newer
  }

  function learn(choice) {
    const key = pairKey(choice.first, choice.second);
    if (choice.better) choices.set(key, choice);
    else choices.delete(key);
  }

  async function begin() {
    for (const choice of Gallery.summary.choices || []) learn(choice);
    if (canSave) {
      const found = await fetch("?said").then((reply) => reply.json(), () => ({ ratings: [], choices: [] }));
      for (const choice of found.choices || []) learn(choice);
      for (const told of found.ratings || []) await remember(told, true);
    }
    const before = kept();
    for (const choice of before.choices) {
      learn(choice);
      unsavedChoices.set(pairKey(choice.first, choice.second), choice);
    }
    for (const told of before.ratings) await remember(told, false);
    Gallery.tell("choices");
    show();
    send();
  }

  // --- said now -------------------------------------------------------------------------------------------------

  // Says something of an item; what is left out stays as it was. Gives back what was said before.
  Gallery.judge = async (item, told) => {
    const record = await Gallery.fetchItem(item);
    if (!record || !record.sha256 || !record.image) {
      Gallery.say("There is no image to rate");
      return null;
    }
    const before = says(record);
    const after = { ...before, ...told };
    after.rating_note = whole(after.rating_note);
    if (isSame(before, after)) return null;
    const was = ratings.get(keyOf(record))?.was || before;
    ratings.set(keyOf(record), { ...names(record), image_number: record.image_number || 1, item, was, ...after });
    await Gallery.change(item, after);
    keep();
    send();
    return before;
  };

  // Says which of two items is better ("first", "second", "tie", "skip"), or takes that back (null).
  Gallery.choose = (one, other, better) => {
    const choice = { prompt: one.prompt || "", first: names(one), second: names(other), better };
    const key = pairKey(one, other);
    learn(choice);
    unsavedChoices.set(key, choice);
    keep();
    send();
  };

  Gallery.choiceOf = (one, other) => choices.get(pairKey(one, other));
  Gallery.choices = choices;
  Gallery.pictureKey = keyOf;

  // --- saved by the server --------------------------------------------------------------------------------------

  const sent = ({ was, ...told }) => told;

  // As many as go into one message.
  function first(said) {
    let left = MOST_CHARS;
    return [...said].slice(0, MOST_AT_ONCE).filter(([, told], at) => {
      left -= JSON.stringify(told).length;
      return left >= 0 || at === 0;
    });
  }

  async function send() {
    if (!canSave || isSending || !(ratings.size || unsavedChoices.size)) return;
    isSending = true;
    const some = first(ratings);
    const pairs = first(unsavedChoices);
    show();
    try {
      const body = JSON.stringify({ ratings: some.map(([, told]) => sent(told)), choices: pairs.map(([, choice]) => choice) });
      const reply = await fetch(location.pathname, { method: "POST", body, headers: { "Content-Type": "application/json" } });
      if (!reply.ok) throw new Error((await reply.json().catch(() => ({}))).error || `The server said ${reply.status}.`);
      // What was said anew meanwhile is another object, and goes next.
      for (const [key, told] of some) if (ratings.get(key) === told) ratings.delete(key);
      for (const [key, choice] of pairs) if (unsavedChoices.get(key) === choice) unsavedChoices.delete(key);
      failure = "";
      tries = 0;
    } catch (error) {
      failure = error instanceof TypeError ? "The command that serves this page does not answer." : error.message;
      tries += 1;
    }
    isSending = false;
    keep();
    if (failure) setTimeout(send, AGAIN_MS[Math.min(tries, AGAIN_MS.length) - 1]);
    else send();
  }

  window.addEventListener("beforeunload", (event) => {
    if ((canSave || isFull) && (ratings.size || unsavedChoices.size)) event.preventDefault();
  });

  // --- given out as files ---------------------------------------------------------------------------------------

  const ENDS = ";,\\t\\n\\r\\x0b\\x0c\\x1c-\\x1e\\x85\\u2028\\u2029";
  const PASSED =
    ' "\\x00-\\x08\\x0e-\\x1b\\x1f\\x7f-\\x84\\x86-\\xa0\\xad\\u034f\\u061c\\u115f\\u1160\\u1680\\u17b4\\u17b5\\u180b-\\u180f' +
    "\\u2000-\\u200f\\u202a-\\u202f\\u205f-\\u206f\\u3000\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff9-\\ufffb\\u{e0000}-\\u{e0fff}";
  const SIGN = `(?=[${PASSED}]*(?:[=+@\\uff1d\\uff0b\\uff0d\\uff20\\ufe66\\ufe62\\ufe63\\ufe6b]|-(?!\\d{1,20}(?:\\.\\d{1,20})? {0,9}(?:[${ENDS}]|$))))`;
  const TO_GUARD = new RegExp(`^'*(?=[\\t\\r\\n])|(?:^|(?<=[${ENDS}]))'*${SIGN}`, "gu");

  // A text that no spreadsheet takes for a formula; what reads ratings.csv takes the apostrophe away again.
  const guarded = (text) => text.replace(TO_GUARD, (marks) => `'${marks}`);
  Gallery.guarded = guarded;

  function line(values) {
    const cells = values.map((value) => guarded(value === null || value === undefined ? "" : String(value)));
    const isOdd = cells.some((cell) => cell.includes("\r"));
    return cells.map((cell) => (isOdd || /[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",");
  }

  const file = (lines) => `\ufeff${lines.map((values) => `${line(values)}\n`).join("")}`;

  async function judgedItems() {
    const found = [];
    for (let item = 0; item < Gallery.summary.items; item += 1) {
      if (SAYS.some((name) => Gallery.index[name]?.[item])) found.push(await Gallery.fetchItem(item));
    }
    return found.filter((record) => record && record.sha256);
  }

  const byFolder = (all, folderOf) => Gallery.summary.folders.map((folder) => [folder, all.filter((each) => folderOf(each) === folder)]).filter(([, some]) => some.length);

  // The files as they would be saved: [name, text].
  Gallery.files = async () => {
    const columns = ["id", "image", "rating", "verdict", "rating_note", "row_key", "sha256"];
    const isOne = Gallery.summary.folders.length === 1;
    const named = (folder, name) => (isOne ? name : `${folder.replaceAll("/", "-")}-${name}`);
    const judged = byFolder(await judgedItems(), (record) => record.folder);
    const files = judged.map(([folder, some]) => [named(folder, "ratings.csv"), file([columns, ...some.map((record) => columns.map((name) => record[name]))])]);
    const sides = ["id", "image", "row_key", "sha256"];
    const header = ["prompt", "better", "first_id", "first_image", "second_id", "second_image", "second_folder", "first_row_key", "first_sha256", "second_row_key", "second_sha256"];
    const order = ({ prompt, first, second }) => [prompt, first.image, second.folder, second.image, first.sha256, second.sha256];
    for (const [folder, some] of byFolder([...choices.values()], (choice) => choice.first.folder)) {
      const lines = some
        .map((choice) => [order(choice), choice])
        .sort(([one], [other]) => {
          const at = one.findIndex((cell, each) => cell !== other[each]);
          return at < 0 ? 0 : one[at] < other[at] ? -1 : 1;
        })
        .map(([, choice]) => {
          const told = { prompt: choice.prompt, better: choice.better, second_folder: Gallery.summary.between?.[folder]?.[choice.second.folder] ?? "" };
          for (const name of sides) Object.assign(told, { [`first_${name}`]: choice.first[name], [`second_${name}`]: choice.second[name] });
          return header.map((name) => told[name]);
        });
      files.push([named(folder, "preferences.csv"), file([header, ...lines])]);
    }
    return files;
  };

  async function giveOut() {
    for (const [name, text] of await Gallery.files()) {
      const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      const link = el("a", { href: address, download: name });
      (document.querySelector("dialog[open]") || document.body).append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(address), 60000);
    }
  }

  // --- shown ----------------------------------------------------------------------------------------------------

  const sign = el("div.saying", { role: "status", "aria-live": "polite" });

  function show() {
    const count = ratings.size + unsavedChoices.size;
    const home = document.querySelector("dialog[open]") || document.body;
    if (sign.parentElement !== home) home.append(sign);
    const save = el("button.button", { type: "button", text: "Save as files", on: { click: giveOut } });
    sign.classList.toggle("is-failed", Boolean(failure || isFull));
    if (canSave && failure) sign.replaceChildren(el("b", { text: `Not saved: ${words.count(count)}.` }), el("span", { text: `${failure} It is kept here and tried again.` }), save);
    else if (canSave && count) sign.replaceChildren(el("span", { text: "Saving…" }));
    else if (canSave) sign.replaceChildren(el("span", { text: "All saved" }));
    else if (isFull) sign.replaceChildren(el("b", { text: "This browser keeps no more." }), el("span", { text: "Save the files now, and put them into the folder." }), save);
    else if (count) sign.replaceChildren(el("span", { text: `${words.count(count)} kept in this browser only.` }), save);
    else sign.replaceChildren();
    sign.hidden = !sign.hasChildNodes();
  }

  Gallery.on("opened", show);
  Gallery.on("closed", show);
  Gallery.on("ready", () => {
    Gallery.loadIndex().then(begin);
  });
})();
