// Side by side: what an edit made of its source, and the same prompt across models, or any other column.
"use strict";

(() => {
  const { el, words } = Gallery;
  const SIDE = { s: 150, m: 300, l: 480 };
  const BEFORE = 800;
  const EDITS = "#edit";

  let plan = null;
  let active = 0;
  const bands = new Map();

  function hasEdits() {
    const edits = Gallery.index[EDITS];
    return Boolean(edits) && edits.some(Boolean);
  }

  function options() {
    const found = Gallery.summary.columns
      .filter((column) => column.kind === "choice" && Gallery.differs(column))
      .filter((column) => !["status", "error_code", "note", "rating", "verdict", "rating_note", "duplicate_of"].includes(column.name))
      .map((column) => [column.name, words.label(column.name)]);
    return hasEdits() ? [[EDITS, "source → result"], ...found] : found;
  }

  function chosen(all) {
    const names = all.map(([name]) => name);
    if (names.includes(Gallery.state.across)) return Gallery.state.across;
    return [EDITS, "model", "resolution", "aspect_ratio", "variant", ...names].find((name) => names.includes(name)) || "";
  }

  // Items that were asked for in the same words, where they differ in what is compared.
  function groups(across) {
    if (across === EDITS) return Gallery.order.filter((item) => Gallery.index[EDITS][item]).map((item) => [item]);
    const byGroup = new Map();
    for (const item of Gallery.order) {
      const group = Gallery.index["#group"][item];
      if (byGroup.has(group)) byGroup.get(group).push(item);
      else byGroup.set(group, [item]);
    }
    const cells = Gallery.index[across];
    return [...byGroup.values()].filter((items) => items.some((item) => cells[item] !== cells[items[0]]));
  }

  function valuesOf(across) {
    if (across === EDITS) return [];
    const used = new Set(plan.groups.flat().map((item) => Gallery.index[across][item]));
    return [...used].sort((a, b) => (a || Infinity) - (b || Infinity));
  }

  function openOnClick(element, item, sequence) {
    element.setAttribute("role", "button");
    element.tabIndex = 0;
    const open = () => Gallery.open(item, sequence);
    element.addEventListener("click", open);
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter") open();
    });
    return element;
  }

  function editBand(band, item) {
    Gallery.fetchItem(item).then((record) => {
      const source = record && Gallery.sourceOf(record);
      if (!source || !band.isConnected) return;
      const side = { width: `${plan.side}px`, height: `${plan.tall}px` };
      const before = el("figure.side-by-side", { style: { width: side.width } });
      const from = el("div.tile", { style: { height: side.height }, "aria-label": `source ${source.name}` });
      from.append(el("div.box", {}, el("img.thumb.there", { src: Gallery.thumbUrl(source.thumb), alt: "source", draggable: "false" })));
      if (source.item !== undefined) openOnClick(from, source.item);
      before.append(from, el("figcaption", { text: "source" }));
      const parts = [before];
      if (record.thumb) {
        const slid = el("figure.side-by-side.is-slid", { style: { width: side.width } });
        const slider = Gallery.slider([Gallery.thumbUrl(source.thumb), Gallery.thumbUrl(record.thumb)], `Source and result of ${record.id}`);
        slider.style.height = side.height;
        slid.append(slider, el("figcaption", { text: "drag to compare" }));
        if (plan.isNarrow) parts.unshift(slid);
        else parts.push(slid);
      }
      const result = el("figure.side-by-side", { style: { width: side.width } });
      const to = openOnClick(el("div.tile", { style: { height: side.height } }), item, plan.groups.flat());
      result.append(to, el("figcaption", { text: "result" }));
      Gallery.fill(to, item);
      parts.push(result);
      band.replaceChildren(heading(record), el("div.band-row", {}, ...parts));
    });
  }

  function heading(record) {
    return el("button.band-head", { type: "button", text: record.prompt || record.id, dir: "auto", title: "Search for this prompt", on: { click: () => Gallery.go({ q: `"${(record.prompt || "").replaceAll('"', "")}"` }, true) } });
  }

  function groupBand(band, items) {
    Gallery.fetchItem(items[0]).then((record) => {
      if (!record || !band.isConnected) return;
      const cells = Gallery.index[plan.across];
      const figures = plan.values.map((code) => {
        const found = items.filter((item) => cells[item] === code);
        const figure = el("figure.side-by-side", { style: { width: `${plan.side}px` } });
        const tile = el("div.tile", { style: { height: `${plan.tall}px` } });
        const best = found.find((item) => Gallery.value("status", item) === "completed") ?? found[0];
        if (best === undefined) tile.classList.add("is-none");
        else Gallery.fill(openOnClick(tile, best, items), best);
        const text = code ? Gallery.column(plan.across).values[code - 1] : "none";
        const more = found.length > 1 ? ` · ${found.length}` : "";
        figure.append(tile, el("figcaption", { text: text + more, dir: "auto" }));
        return figure;
      });
      band.replaceChildren(heading(record), el("div.band-row", {}, ...figures));
    });
  }

  function draw() {
    if (!plan || Gallery.state.view !== "compare") return;
    const { stage } = Gallery.parts;
    const top = stage.scrollTop - plan.canvas.offsetTop - BEFORE;
    const first = Math.max(0, Math.floor(top / plan.height));
    const last = Math.min(plan.groups.length, Math.ceil((top + stage.clientHeight + 2 * BEFORE) / plan.height));
    for (const [at, band] of bands) {
      if (at >= first && at < last) continue;
      band.remove();
      bands.delete(at);
    }
    for (let at = first; at < last; at += 1) {
      if (bands.has(at)) continue;
      const band = el("section.band", { style: { height: `${plan.height}px`, transform: `translateY(${at * plan.height}px)` } });
      bands.set(at, band);
      plan.canvas.append(band);
      if (plan.across === EDITS) editBand(band, plan.groups[at][0]);
      else groupBand(band, plan.groups[at]);
    }
  }

  function show() {
    bands.clear();
    plan = null;
    const { view } = Gallery.parts;
    const all = options();
    const across = chosen(all);
    if (!across) return view.replaceChildren(Gallery.nothing("Nothing to compare", "Edits show their source here; several models, or values of another column, the same prompt side by side."));
    plan = { across, groups: groups(across) };
    plan.values = valuesOf(across);
    const width = view.clientWidth;
    const beside = across === EDITS ? 3 : plan.values.length;
    plan.side = Math.max(120, Math.min(SIDE[Gallery.state.size], Math.max((width - 14 * beside) / beside, width < 600 ? (width - 28) / 1.6 : 0)));
    plan.isNarrow = width < 600;
    if (plan.isNarrow && across === EDITS) plan.side = width; // the slider fills it, the others follow
    plan.tall = Math.round(plan.side / Gallery.ratio());
    plan.height = plan.tall + 100;
    const chooser = el(
      "div.choosers",
      {},
      el("label.field", {}, el("span", { text: "Compare" }), Gallery.select("Compare across", all, across, (name) => Gallery.go({ across: name }, true))),
      el("span.choosers-count", { text: across === EDITS ? words.counted(plan.groups.length, "edit") : words.counted(plan.groups.length, "prompt") }),
    );
    if (!plan.groups.length) {
      view.replaceChildren(chooser, Gallery.nothing("No two of the same prompt", `No prompt that is shown was made with different values of ${words.label(across)}.`));
      plan = null;
      return;
    }
    active = 0;
    plan.canvas = el("div.canvas", { tabindex: "0", role: "region", "aria-label": "Side by side", style: { height: `${plan.groups.length * plan.height}px` } });
    plan.canvas.addEventListener("keydown", (event) => {
      if (event.target !== plan.canvas) return;
      const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 1, PageUp: -1 }[event.key];
      if (event.key === "Enter") Gallery.open(plan.groups[active].at(-1), plan.across === EDITS ? plan.groups.flat() : plan.groups[active]);
      else if (step) {
        active = Math.max(0, Math.min(plan.groups.length - 1, active + step));
        Gallery.parts.stage.scrollTop = plan.canvas.offsetTop + active * plan.height;
      } else return;
      event.preventDefault();
    });
    view.replaceChildren(chooser, plan.canvas);
    draw();
  }

  Gallery.addView({
    name: "compare",
    label: "Compare",
    icon: "compare",
    show,
    draw,
    resize: show,
    focus: () => plan && plan.canvas.focus({ preventScroll: true }),
    changed: () => {},
  });
})();
