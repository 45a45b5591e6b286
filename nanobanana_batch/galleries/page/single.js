// One item in full: the original, and everything that is known of it, to be copied.
"use strict";

(() => {
  const { el, button, words } = Gallery;
  // Told by other means, or of no use to a person.
  const HIDDEN = new Set(["prompt", "sources", "images", "thumb", "url", "problem", "practice", "id", "status", "error_code", "error_message", "folder", "extra"]);
  const LAST = ["task_id", "provider", "row_key", "sha256", "source", "image", "media_type", "size_bytes", "intended_at", "accepted_at", "answered_at", "ended_at", "saved_at", "attempts"];

  let sequence = null; // through which "next" leads; null: all that are shown
  let isWhole = true; // fitted to the window, else as large as it is
  let isSliding = false;
  let shown = null;

  const panels = [];
  // A module's own part of the panel: what it returns for (number, record) stands above the facts; null: nothing.
  Gallery.addPanel = (make) => panels.push(make);

  Gallery.open = (item, among = null) => {
    sequence = among;
    isSliding = false;
    Gallery.go({ item }, Gallery.state.item === null);
  };

  Gallery.close = () => {
    if (Gallery.state.item === null) return;
    Gallery.go({ item: null });
  };

  const list = () => (sequence && sequence.includes(Gallery.state.item) ? sequence : Gallery.order);

  Gallery.step = (by) => {
    const all = list();
    const at = all.indexOf(Gallery.state.item);
    const next = all[at + by];
    if (next !== undefined) Gallery.go({ item: next });
    else Gallery.say(by > 0 ? "That was the last one" : "That was the first one");
  };

  function fact(name, value) {
    const text = words.cell(name, value);
    const raw = String(value);
    const cell = el("dd", {}, el("button.copyable", { type: "button", text, dir: "auto", title: "Copy", on: { click: () => Gallery.copy(raw, words.label(name)) } }));
    return [el("dt", { text: words.label(name), dir: "auto" }), cell];
  }

  function facts(record) {
    const { variables } = Gallery.summary;
    const names = Object.keys(record).filter((name) => !HIDDEN.has(name) && (name !== "folder" || Gallery.summary.folders.length > 1));
    const rank = (name) => (variables.includes(name) ? 0 : LAST.includes(name) ? 2 + LAST.indexOf(name) : 1);
    const sorted = names.map((name, at) => [rank(name), at, name]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const pairs = sorted.map(([, , name]) => [name, record[name]]);
    if (record.extra) pairs.push(...Object.entries(JSON.parse(record.extra)).map(([name, value]) => [`setting: ${name}`, value]));
    if (Gallery.summary.folders.length > 1) pairs.unshift(["folder", record.folder]);
    return el("dl.facts", {}, ...pairs.flatMap(([name, value]) => fact(name, value)));
  }

  function sources(record) {
    if (!record.sources) return null;
    const lines = record.sources.map((source) => {
      const thumb = source.thumb ? el("img", { src: Gallery.thumbUrl(source.thumb), alt: "", draggable: "false" }) : el("i.no-source", {});
      const name = el("span", { text: source.name, dir: "auto" });
      if (source.item !== undefined) return el("button.source", { type: "button", title: "Look at this one", on: { click: () => Gallery.open(source.item) } }, thumb, name);
      return el("div.source", { title: source.thumb ? null : "It cannot be shown: it is not on this machine, or not what it was" }, thumb, name);
    });
    return el("section.panel-part", {}, el("h3", { text: record.sources.length > 1 ? "Source pictures" : "Source picture" }), ...lines);
  }

  function why(record) {
    if (!record.error_message && !record.error_code && !record.problem) return null;
    const isKnown = record.credits !== undefined;
    const cost = isKnown ? `It has cost ${words.number(record.credits)} credits.` : "What it has cost is not known.";
    return el(
      `section.panel-part.why.is-${record.problem ? "failed" : record.status}`,
      {},
      el("b", { text: record.problem ? "This file cannot be shown" : words.status(record.status) }),
      record.error_code ? el("code", { text: record.error_code }) : null,
      el("p", { text: record.problem || record.error_message || "", dir: "auto" }),
      record.problem ? null : el("p.why-cost", { text: cost }),
    );
  }

  function picture(record) {
    if (!record.url) {
      const text = record.status === "completed" ? "The file is gone" : `No image: ${words.status(record.status)}`;
      return el("div.stage-none", {}, Gallery.icon(record.status === "refused" ? "ban" : record.status === "failed" ? "warn" : "wait"), el("p", { text }), el("p.stage-why", { text: record.error_message || "", dir: "auto" }));
    }
    const source = Gallery.sourceOf(record);
    if (isSliding && source) {
      const slider = Gallery.slider([source.url || Gallery.thumbUrl(source.thumb), record.url], "Source and result");
      slider.style.aspectRatio = `${record.width} / ${record.height}`;
      slider.classList.add("is-large");
      slider.style.setProperty("--ratio", record.width / record.height);
      return slider;
    }
    const image = el("img.original", { alt: record.prompt || record.id, width: record.width, height: record.height, draggable: "false" });
    if (record.thumb) image.style.backgroundImage = `url("${Gallery.thumbUrl(record.thumb)}")`;
    image.style.setProperty("--width", `${record.width}px`);
    image.style.setProperty("--ratio", record.width / record.height);
    image.addEventListener("load", () => {
      image.style.backgroundImage = "none";
      if (image.classList.contains("is-gone")) return;
      image.style.setProperty("--width", `${image.naturalWidth}px`); // a file may say that it is to be turned
      image.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
    });
    image.addEventListener("error", () => {
      image.classList.add("is-gone");
      const text = record.thumb ? "The original is not where it was, or cannot be shown; this is its thumbnail." : "The original cannot be shown.";
      image.closest(".stage-image")?.append(el("p.stage-word", { text }));
      if (record.thumb && image.src !== Gallery.thumbUrl(record.thumb)) image.src = Gallery.thumbUrl(record.thumb);
    }, { once: true });
    image.addEventListener("click", () => Gallery.zoom());
    image.src = record.url;
    return image;
  }

  function tools(record, number) {
    const all = list();
    const at = all.indexOf(number);
    const place = at >= 0 ? `${words.count(at + 1)} of ${words.count(all.length)}` : "";
    return el(
      "div.tools",
      {},
      el("span.tools-place", { text: place }),
      Gallery.sourceOf(record) && record.url ? button("compare", "Source and result (s)", () => Gallery.slide(), { text: "Slider", "aria-pressed": String(isSliding) }) : null,
      record.url ? button(null, "As large as it is, or fitted (z)", () => Gallery.zoom(), { text: isWhole ? "1:1" : "Fit" }) : null,
      record.url ? el("a.button", { href: record.url, target: "_blank", rel: "noopener", title: "The file itself (o)", text: "Open file" }) : null,
      button("close", "Close (Esc)", () => Gallery.close()),
    );
  }

  // Where the keyboard is among what can be reached; -1: nowhere.
  const reachable = () => [...Gallery.parts.single.querySelectorAll("a, button, input, textarea")];
  const place = () => reachable().indexOf(document.activeElement);

  function render(number, record) {
    const { single } = Gallery.parts;
    const was = shown === number ? place() : -1;
    shown = number;
    const image = el("div.stage-image", {}, picture(record));
    image.classList.toggle("is-whole", isWhole);
    const copy = record.prompt ? button("copy", "Copy the prompt (c)", () => Gallery.copy(record.prompt, "prompt"), { text: "Copy prompt" }) : null;
    const panel = el(
      "aside.panel",
      { tabindex: "-1" },
      el(
        "div.panel-head",
        {},
        el("h2", { text: record.id, dir: "auto" }),
        el(`span.status.is-${record.status}`, { text: words.status(record.status) }),
        record.practice ? el("span.mark.is-practice", { text: "placeholder" }) : null,
      ),
      record.prompt ? el("div.prompt", {}, el("p", { text: record.prompt, dir: "auto" }), copy) : null,
      why(record),
      ...panels.map((make) => make(number, record)),
      sources(record),
      facts(record),
    );
    single.replaceChildren(
      tools(record, number),
      el("div.single-body", {}, el("div.stage-box", {}, button("left", "The one before (←)", () => Gallery.step(-1), { class: "button go-left" }), image, button("right", "The next one (→)", () => Gallery.step(1), { class: "button go-right" })), panel),
    );
    if (!single.open) single.showModal();
    (reachable()[was] || single).focus({ preventScroll: was >= 0 });
    prepare(number);
    Gallery.tell("opened", number, record);
  }

  // The next original is fetched while this one is looked at.
  async function prepare(number) {
    const all = list();
    const next = all[all.indexOf(number) + 1];
    const record = next === undefined ? null : await Gallery.fetchItem(next);
    if (record && record.url && shown === number) new Image().src = record.url;
  }

  Gallery.zoom = () => {
    isWhole = !isWhole;
    Gallery.showSingle();
  };

  Gallery.slide = () => {
    isSliding = !isSliding;
    Gallery.showSingle();
  };

  Gallery.showSingle = async () => {
    const { single } = Gallery.parts;
    const number = Gallery.state.item;
    if (number === null || number >= Gallery.summary.items) {
      if (single.open) {
        single.close();
        Gallery.tell("closed");
        if (shown !== null) Gallery.viewNow().seen?.(shown);
        Gallery.focusView();
      }
      shown = null;
      return;
    }
    const record = await Gallery.fetchItem(number);
    if (record && Gallery.state.item === number) render(number, record);
  };

  Gallery.on("ready", () => {
    Gallery.parts.single.addEventListener("cancel", (event) => {
      event.preventDefault();
      Gallery.close();
    });
  });
  Gallery.on("changed", (number) => {
    if (number === Gallery.state.item) Gallery.showSingle();
  });
})();
