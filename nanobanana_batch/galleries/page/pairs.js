// Two images of the same prompt beside each other: which is better?
//
// In the first round each image of a prompt meets one other, so that soon each was compared once; in each next
// round it meets another one, until all have met.
"use strict";

(() => {
  const { el, words } = Gallery;
  const PRELOADED = 2;
  let groups = []; // items of the same prompt, two or more
  let itemOf = new Map(); // by picture, of those that were chosen between before
  let walk = null;
  let ahead = []; // pairs that come next: [first, second, records]
  let past = []; // pairs that were judged here
  let box = null;
  let made = 0; // which preparation is the newest

  function findGroups() {
    const codes = Gallery.index["#group"];
    const types = Gallery.index.media_type;
    const found = new Map();
    for (const item of [...Gallery.order].sort((a, b) => a - b)) {
      if (types && !types[item]) continue; // a row without an image
      if (!found.has(codes[item])) found.set(codes[item], []);
      found.get(codes[item]).push(item);
    }
    return [...found.values()].filter((items) => items.length > 1);
  }

  // Who meets whom in a round, by place: the first stays, the others go round; the odd one out waits.
  function* meetings(count, round) {
    const size = count + (count % 2);
    const at = (seat) => (seat === 0 ? 0 : 1 + ((seat - 1 + round) % (size - 1)));
    for (let seat = 0; seat < size / 2; seat += 1) {
      const [one, other] = [at(seat), at(size - 1 - seat)];
      if (one < count && other < count) yield one < other ? [one, other] : [other, one];
    }
  }

  function* pairs() {
    const most = Math.max(0, ...groups.map((items) => items.length));
    for (let round = 0; round < most; round += 1) {
      for (const items of groups) {
        if (round >= items.length + (items.length % 2) - 1) continue;
        for (const [one, other] of meetings(items.length, round)) yield [items[one], items[other]];
      }
    }
  }

  const inAll = () => groups.reduce((sum, items) => sum + (items.length * (items.length - 1)) / 2, 0);

  // The items of what was chosen before, to tell how far it is.
  async function findChosen() {
    const wanted = new Set([...Gallery.choices.values()].flatMap(({ first, second }) => [Gallery.pictureKey(first), Gallery.pictureKey(second)]));
    itemOf = new Map();
    if (!wanted.size) return;
    for (const item of groups.flat()) {
      const record = await Gallery.fetchItem(item);
      if (record && wanted.has(Gallery.pictureKey(record))) itemOf.set(Gallery.pictureKey(record), item);
    }
  }

  async function next() {
    while (ahead.length <= PRELOADED) {
      const { value, done } = walk.next();
      if (done) break;
      const records = await Promise.all(value.map((item) => Gallery.fetchItem(item)));
      if (records.some((record) => !record || !record.url) || Gallery.choiceOf(...records)) continue;
      ahead.push([...value, records]);
      for (const record of records) new Image().src = record.url;
    }
    return ahead[0];
  }

  function progress() {
    const compared = new Set();
    let judged = 0;
    for (const { first, second } of Gallery.choices.values()) {
      const items = [itemOf.get(Gallery.pictureKey(first)), itemOf.get(Gallery.pictureKey(second))];
      if (items.includes(undefined)) continue;
      judged += 1;
      for (const item of items) compared.add(item);
    }
    const images = groups.flat().length;
    return el(
      "div.pairs-progress",
      {},
      el("progress", { max: inAll(), value: judged, "aria-label": "Pairs that were judged" }),
      el("span", { text: `${words.count(judged)} of ${words.counted(inAll(), "pair")} judged · ${words.count(compared.size)} of ${words.counted(images, "image")} compared` }),
    );
  }

  // Which of the two stands on the left: neither side is favoured, and it is the same each time.
  const isTurned = ([first, second]) => (first * 31 + second * 17) % 2 === 1;

  function side(record, better, label) {
    const image = el("img", { src: record.url, alt: "", draggable: "false" });
    return el("button.pairs-side", { type: "button", title: label, "aria-label": label, on: { click: () => judge(better) } }, image);
  }

  function told(record) {
    const { variables } = Gallery.summary;
    return [record.model, ...variables.map((name) => record[name])].filter(Boolean).join(" · ");
  }

  async function draw() {
    const mine = (made += 1);
    if (!groups.length) {
      box.replaceChildren(Gallery.nothing("There are no pairs", "A pair is two images of the same prompt, among those that are shown."));
      return;
    }
    const pair = await next();
    if (mine !== made || !box) return;
    if (!pair) {
      box.replaceChildren(progress(), Gallery.nothing("Every pair was judged", "Other filters may have others."));
      return;
    }
    const [, , records] = pair;
    const sides = records.map((record, at) => side(record, at ? "second" : "first", `This one is better: ${record.id}`));
    if (isTurned(pair)) sides.reverse();
    const act = (text, key, better) => el("button.button", { type: "button", text: `${text} (${key})`, on: { click: () => judge(better) } });
    box.replaceChildren(
      progress(),
      el("p.pairs-prompt", { text: records[0].prompt || "", dir: "auto" }),
      el("div.pairs-sides", {}, ...sides),
      el("div.pairs-acts", {}, act("Equally good", "↓", "tie"), act("Skip", "s", "skip"), past.length ? el("button.button", { type: "button", text: "Back (u)", on: { click: back } }) : null),
      el("details.pairs-more", {}, el("summary", { text: "What they are" }), ...records.map((record) => el("p", { text: `${record.id}: ${told(record)}`, dir: "auto" }))),
    );
    box.dataset.pair = pair.slice(0, 2).join(" ");
    box.focus({ preventScroll: true });
  }

  function judge(better) {
    const pair = ahead.shift();
    if (!pair) return;
    const [first, second, records] = pair;
    past.push(pair);
    itemOf.set(Gallery.pictureKey(records[0]), first);
    itemOf.set(Gallery.pictureKey(records[1]), second);
    Gallery.choose(...records, better);
    draw();
  }

  function back() {
    const pair = past.pop();
    if (!pair) return;
    Gallery.choose(...pair[2], null);
    ahead.unshift(pair);
    draw();
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isLeftFirst = ahead[0] && !isTurned(ahead[0]);
    const acts = {
      ArrowLeft: () => judge(isLeftFirst ? "first" : "second"),
      ArrowRight: () => judge(isLeftFirst ? "second" : "first"),
      ArrowDown: () => judge("tie"),
      s: () => judge("skip"),
      u: back,
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  async function show() {
    const mine = (made += 1);
    box = el("div.pairs", { tabindex: "0", "aria-label": "Which is better?" });
    box.addEventListener("keydown", keys);
    Gallery.parts.view.replaceChildren(box);
    groups = findGroups();
    walk = pairs();
    ahead = [];
    past = [];
    await findChosen();
    if (mine === made) draw();
  }

  Gallery.addView({
    name: "pairs",
    label: "Pairs",
    icon: "star",
    show,
    draw() {},
    resize() {},
    focus: () => box && box.focus({ preventScroll: true }),
    seen() {},
    changed() {},
  });
  Gallery.on("choices", () => Gallery.state.view === "pairs" && show());

  Gallery.addKeys(
    { keys: ["p"], where: "pictures", help: "Pairs: which of two is better", run: () => Gallery.go({ view: "pairs" }, true) },
    { keys: ["←", "→"], where: "pictures", help: "In pairs: that one is better" },
    { keys: ["↓", "s"], where: "pictures", help: "In pairs: equally good; skip" },
  );
})();
