// All pictures in rows; only those in sight, and a little more, are elements of the page.
"use strict";

(() => {
  const { el, words } = Gallery;
  const SIZES = { s: 112, m: 196, l: 320 };
  const GAP = { s: 6, m: 14, l: 18 };
  const CAPTION = { s: 0, m: 46, l: 46 };
  const BEFORE = 600; // pixels above and below that are made ready

  let layout = null;
  let active = 0; // where the keyboard is, by place in the order
  const tiles = new Map();
  let canvas = null;

  function measure() {
    const { size } = Gallery.state;
    const gap = GAP[size];
    const width = Gallery.parts.view.clientWidth;
    const least = Math.min(SIZES[size], (width - gap) / 2);
    const columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
    const tile = (width - gap * (columns - 1)) / columns;
    const ratio = Gallery.ratio();
    const height = Math.round(tile / ratio) + CAPTION[size];
    const rows = Math.ceil(Gallery.order.length / columns);
    return { columns, tile, height, gap, box: Math.round(tile / ratio), total: rows * (height + gap) };
  }

  function place(element, at) {
    const { columns, tile, height, gap, box } = layout;
    const [row, column] = [Math.floor(at / columns), at % columns];
    element.style.transform = `translate(${column * (tile + gap)}px, ${row * (height + gap)}px)`;
    element.style.width = `${tile}px`;
    element.style.height = `${height}px`;
    element.style.setProperty("--box", `${box}px`);
  }

  function tile(at) {
    const number = Gallery.order[at];
    const element = el("div.tile", {
      role: "option",
      id: `tile-${at}`,
      "aria-posinset": at + 1,
      "aria-setsize": Gallery.order.length,
      "aria-selected": at === active ? "true" : "false",
      "data-at": at,
      "data-caption": CAPTION[Gallery.state.size] ? "1" : null,
    });
    place(element, at);
    return Gallery.fill(element, number);
  }

  function draw() {
    if (!canvas || Gallery.state.view !== "grid") return;
    const { stage } = Gallery.parts;
    const top = stage.scrollTop - canvas.offsetTop - BEFORE;
    const line = layout.height + layout.gap;
    const first = Math.max(0, Math.floor(top / line)) * layout.columns;
    const last = Math.min(Gallery.order.length, Math.ceil((top + stage.clientHeight + 2 * BEFORE) / line) * layout.columns);
    for (const [at, element] of tiles) {
      if (at < first || at >= last) {
        element.remove();
        tiles.delete(at);
      }
    }
    for (let at = first; at < last; at += 1) {
      if (tiles.has(at)) continue;
      const element = tile(at);
      tiles.set(at, element);
      canvas.append(element);
    }
    if (tiles.has(active)) canvas.setAttribute("aria-activedescendant", `tile-${active}`);
    else canvas.removeAttribute("aria-activedescendant");
  }

  function move(to) {
    const before = tiles.get(active);
    if (before) before.setAttribute("aria-selected", "false");
    active = Math.max(0, Math.min(Gallery.order.length - 1, to));
    const { stage } = Gallery.parts;
    const top = canvas.offsetTop + Math.floor(active / layout.columns) * (layout.height + layout.gap);
    if (top < stage.scrollTop + 8) stage.scrollTop = top - 8;
    else if (top + layout.height > stage.scrollTop + stage.clientHeight) stage.scrollTop = top + layout.height - stage.clientHeight + 8;
    draw();
    const now = tiles.get(active);
    if (now) now.setAttribute("aria-selected", "true");
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(Gallery.parts.stage.clientHeight / (layout.height + layout.gap))) * layout.columns;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -layout.columns, ArrowDown: layout.columns, PageUp: -page, PageDown: page };
    if (event.key in steps) move(active + steps[event.key]);
    else if (event.key === "Home") move(0);
    else if (event.key === "End") move(Gallery.order.length - 1);
    else if (event.key === "Enter" || event.key === " ") Gallery.open(Gallery.order[active]);
    else return;
    event.preventDefault();
  }

  Gallery.nothing = (title, text) =>
    el(
      "div.empty",
      {},
      el("h2", { text: title }),
      el("p", { text }),
      Gallery.isFiltered() ? el("button.button.is-main", { type: "button", text: "Show all", on: { click: Gallery.showAll } }) : null,
    );

  function show() {
    tiles.clear();
    canvas = null;
    const { view } = Gallery.parts;
    if (!Gallery.order.length) {
      const [title, text] = Gallery.isFiltered()
        ? ["Nothing is like that", "No image, and no row without one, meets all of what is asked for."]
        : ["There is nothing here yet", "The manifest has no rows that were selected."];
      view.replaceChildren(Gallery.nothing(title, text));
      return;
    }
    canvas = el("div.canvas.grid", { role: "listbox", tabindex: "0", "aria-label": words.counted(Gallery.order.length, "item") });
    canvas.classList.add(`is-${Gallery.state.size}`);
    view.replaceChildren(canvas);
    canvas.addEventListener("keydown", keys);
    canvas.addEventListener("click", (event) => {
      const found = event.target.closest(".tile");
      if (!found) return;
      move(Number(found.dataset.at));
      Gallery.open(Gallery.order[active]);
    });
    active = Math.min(active, Gallery.order.length - 1);
    resize();
  }

  function resize() {
    if (!canvas) return;
    layout = measure();
    canvas.style.height = `${layout.total}px`;
    for (const [at, element] of tiles) place(element, at);
    draw();
  }

  Gallery.addView({
    name: "grid",
    label: "Grid",
    icon: "grid",
    show,
    draw,
    resize,
    focus: () => canvas && canvas.focus({ preventScroll: true }),
    seen(number) {
      const at = Gallery.order.indexOf(number);
      if (at >= 0 && canvas) move(at);
    },
    changed(number) {
      for (const [at, element] of tiles) if (Gallery.order[at] === number) Gallery.fill(element, number);
    },
  });
})();
