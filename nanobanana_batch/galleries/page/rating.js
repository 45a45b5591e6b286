// Stars, a verdict and a note for the picture that is looked at, or that the keyboard is on.
"use strict";

(() => {
  const { el } = Gallery;
  const done = []; // what can be undone: [item, what was said before]
  let draft = null; // a note that is being written: {item, text}

  // The item that is open, or the one that is chosen in the grid.
  function current() {
    if (Gallery.state.item !== null) return Gallery.state.item;
    const tile = Gallery.state.view === "grid" && document.querySelector('.tile[aria-selected="true"]');
    return tile ? Gallery.order[Number(tile.dataset.at)] : null;
  }

  async function judge(item, told) {
    if (item === null || item === undefined) return;
    const before = await Gallery.judge(item, told);
    if (before) done.push([item, before]);
  }

  const rate = (rating) => () => judge(current(), { rating });

  // The same verdict once more takes it back.
  const give = (verdict) => async () => {
    const item = current();
    if (item === null) return;
    const record = await Gallery.fetchItem(item);
    await judge(item, { verdict: record?.verdict === verdict ? null : verdict });
  };

  async function undo() {
    const last = done.pop();
    if (!last) return Gallery.say("There is nothing to undo");
    await Gallery.judge(...last);
    Gallery.say("Undone");
  }

  async function writeNote() {
    const item = current();
    if (item === null) return;
    if (Gallery.state.item === null) {
      Gallery.open(item);
      await new Promise((resolve) => {
        Gallery.on("opened", resolve);
      });
    }
    document.querySelector(".note-text")?.focus();
  }

  async function endDraft() {
    const written = draft;
    draft = null;
    if (written) await judge(written.item, { rating_note: written.text.trim() });
  }

  function note(number, record) {
    const area = el("textarea.note-text", { rows: 2, placeholder: "A note (n)", "aria-label": "A note on this image", maxlength: 20000, dir: "auto" });
    area.value = draft?.item === number ? draft.text : record.rating_note || "";
    area.addEventListener("input", () => (draft = { item: number, text: area.value }));
    area.addEventListener("change", endDraft);
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) {
        event.preventDefault();
        event.stopPropagation();
        area.blur();
        Gallery.parts.single.focus();
      }
    });
    return area;
  }

  Gallery.addPanel((number, record) => {
    if (!record.sha256) return null;
    const stars = [1, 2, 3, 4, 5].map((count) =>
      el("button.star", {
        type: "button",
        text: count <= (record.rating || 0) ? "★" : "☆",
        title: `${count} of 5 (${count})`,
        "aria-label": `${count} of 5 stars`,
        "aria-pressed": String(record.rating === count),
        on: { click: () => judge(number, { rating: record.rating === count ? null : count }) },
      }),
    );
    const verdicts = [
      ["accepted", "✓ Accept", "a"],
      ["rejected", "✕ Reject", "x"],
    ].map(([verdict, text, key]) =>
      el(`button.button.verdict.is-${verdict}`, {
        type: "button",
        text,
        title: `${text.slice(2)} (${key})`,
        "aria-pressed": String(record.verdict === verdict),
        on: { click: () => judge(number, { verdict: record.verdict === verdict ? null : verdict }) },
      }),
    );
    return el(
      "section.panel-part.rating",
      { "aria-label": "What you say of it" },
      el("div.rating-line", {}, el("div.stars", { role: "group", "aria-label": "Stars" }, ...stars), ...verdicts),
      note(number, record),
    );
  });

  Gallery.on("opened", (number) => draft && draft.item !== number && endDraft());
  Gallery.on("closed", endDraft);
  window.addEventListener("pagehide", endDraft);

  Gallery.addKeys(
    { keys: ["1", "2", "3", "4", "5"], where: "anywhere", help: "Stars for this image", run: (event) => rate(Number(event.key))() },
    { keys: ["0"], where: "anywhere", help: "No stars", run: rate(null) },
    { keys: ["a"], where: "anywhere", help: "Accept it; again: take that back", run: give("accepted") },
    { keys: ["x"], where: "anywhere", help: "Reject it; again: take that back", run: give("rejected") },
    { keys: ["n"], where: "anywhere", help: "Write a note on it", run: writeNote },
    { keys: ["u"], where: "anywhere", help: "Undo what was said last", run: undo },
  );
})();
