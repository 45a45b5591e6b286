// The data of a gallery, and what all other files of this page share.
//
// A page that was opened from disk may not read files; it may only run scripts that stand beside it. So data come
// as scripts, each of which calls Gallery.data(kind, number, value). README.md in this folder says what is in them.
"use strict";

const Gallery = {
  summary: null, // the facts of the head; Gallery.summary.columns says what can be filtered by
  index: Object.create(null), // by column: for each item a code (0: none, n: the n-th value) or a number (NaN: none)
  order: [], // the items that are shown now, in their order
  thumbs: null, // of a page in one file: data URIs by content
  parts: {}, // elements that stay: bar, filters, stage, head, view, single, help

  // --- data -----------------------------------------------------------------------------------------------------

  data(kind, number, value) {
    if (kind === "summary") Gallery.summary = value;
    else if (kind === "index") Gallery.addToIndex(number, value);
    else if (kind === "items") Gallery.loaded.set(`items-${number}`, value.map(Gallery.plain));
    else Gallery.loaded.set(`${kind}-${number}`, value);
  },

  // An object that knows nothing but its own names: a variable may be called "constructor".
  plain: (names) => Object.setPrototypeOf({ ...names }, null),

  loaded: new Map(),
  waiting: new Map(),
  blocks: 0,

  // A file of data, which is fetched once.
  load(kind, number) {
    const name = `${kind}-${number}`;
    const isHere = kind === "index" ? Gallery.indexed.has(number) : Gallery.loaded.has(name);
    if (isHere) return Promise.resolve(Gallery.loaded.get(name));
    if (!Gallery.waiting.has(name)) Gallery.waiting.set(name, Gallery.fetchScript(name));
    return Gallery.waiting.get(name);
  },

  fetchScript(name) {
    return new Promise((resolve) => {
      const script = document.createElement("script");
      script.src = `${document.documentElement.dataset.folder}/${name}.js`;
      script.onload = () => {
        script.remove();
        Gallery.waiting.delete(name);
        resolve(Gallery.loaded.get(name));
      };
      script.onerror = () => {
        script.remove();
        Gallery.say("Part of the data is gone: the gallery was built anew. Load this page again.");
        resolve(undefined);
      };
      document.head.append(script);
    });
  },

  // --- items ----------------------------------------------------------------------------------------------------

  MOST_CHUNKS: 300, // kept in memory

  // All that is known of an item, if it is at hand.
  item(number) {
    const size = Gallery.summary.in_a_chunk;
    const chunk = Gallery.loaded.get(`items-${Math.floor(number / size)}`);
    return chunk && chunk[number % size];
  },

  // The same, fetched if need be.
  async fetchItem(number) {
    const size = Gallery.summary.in_a_chunk;
    const chunk = await Gallery.load("items", Math.floor(number / size));
    Gallery.forgetOld();
    return chunk && chunk[number % size];
  },

  forgetOld() {
    if (Gallery.thumbs) return;
    const chunks = [...Gallery.loaded.keys()].filter((name) => name.startsWith("items-"));
    for (const name of chunks.slice(0, Math.max(0, chunks.length - Gallery.MOST_CHUNKS))) {
      if (!Gallery.loaded.get(name).changed) Gallery.loaded.delete(name);
    }
  },

  thumbUrl(key) {
    if (Gallery.thumbs) return Gallery.thumbs[key];
    return `${Gallery.summary.thumbs}/${key.slice(0, 2)}/${key}.webp`;
  },

  // --- the index ------------------------------------------------------------------------------------------------

  indexed: new Set(),

  column(name) {
    return Gallery.summary.columns.find((column) => column.name === name);
  },

  // Width by height of most pictures, within reason: so tall are the boxes that pictures stand in.
  ratio: () => Math.min(1.8, Math.max(0.6, Gallery.summary.totals.ratio || 1)),

  // Whether items differ in a column of choices, so that it is of use to choose by.
  differs(column) {
    if (column.kind === "number") return column.low < column.high;
    const used = column.counts.slice(1).filter(Boolean).length;
    const isOfImages = ["image_number", "media_type", "provider"].includes(column.name); // a row without one has none
    return used > 1 || (used === 1 && column.counts[0] > 0 && !isOfImages);
  },

  addToIndex(number, block) {
    const { items, in_a_block: size, columns } = Gallery.summary;
    const first = number * size;
    const count = Math.min(size, items - first);
    for (const name of Object.keys(block)) {
      const kind = (columns.find((column) => column.name === name) || {}).kind;
      const Kind = kind === "number" ? Float64Array : kind === "choice" ? Uint16Array : Int32Array;
      if (!Gallery.index[name]) Gallery.index[name] = new Kind(items);
      const cells = block[name];
      const all = Gallery.index[name];
      for (let at = 0; at < count; at += 1) {
        const cell = Array.isArray(cells) ? cells[at] : cells;
        all[first + at] = cell === null ? NaN : cell;
      }
    }
    Gallery.indexed.add(number);
  },

  // What an item has in a column of choices, as text; "" for nothing.
  value(name, number) {
    const column = Gallery.column(name);
    if (!column || !Gallery.index[name]) return "";
    const code = Gallery.index[name][number];
    return column.kind === "number" ? (Number.isNaN(code) ? "" : String(code)) : code ? column.values[code - 1] : "";
  },

  // Something that a person has said of an item: kept in what is at hand, so that filters know it.
  async change(number, told) {
    const record = await Gallery.fetchItem(number);
    const chunk = Gallery.loaded.get(`items-${Math.floor(number / Gallery.summary.in_a_chunk)}`);
    if (!record) return;
    chunk.changed = true;
    for (const [name, value] of Object.entries(told)) {
      if (value === null || value === "") delete record[name];
      else record[name] = value;
      const column = Gallery.column(name);
      if (!column || column.kind !== "choice") continue;
      const text = value === null || value === "" ? "" : name === "rating_note" ? "yes" : String(value);
      if (text && !column.values.includes(text)) column.values.push(text);
      Gallery.index[name][number] = text ? column.values.indexOf(text) + 1 : 0;
    }
    Gallery.tell("changed", number);
  },

  // --- who wants to know ----------------------------------------------------------------------------------------

  listeners: {},

  // "ready": all parts are there. "order": other items, or another order. "state": another view.
  // "opened" (number, record): one item is looked at. "closed". "changed" (number).
  on(event, listener) {
    (Gallery.listeners[event] = Gallery.listeners[event] || []).push(listener);
  },

  tell(event, ...about) {
    for (const listener of Gallery.listeners[event] || []) listener(...about);
  },

  // Ways to look at the items: {name, label, icon, show, draw, resize, focus, seen, changed}.
  views: [],

  addView(view) {
    Gallery.views.push(view);
  },

  // --- elements -------------------------------------------------------------------------------------------------

  // An element. Text is only ever text: nothing in this page is made from markup that came with data.
  el(tag, options = {}, ...children) {
    const [name, ...classes] = tag.split(".");
    const element = document.createElement(name || "div");
    if (classes.length) element.className = classes.join(" ");
    for (const [key, value] of Object.entries(options)) {
      if (value === undefined || value === null || value === false) continue;
      if (key === "text") element.textContent = value;
      else if (key === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
      else if (key === "style") Object.assign(element.style, value);
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  },

  ICONS: {
    close: "M5 5l14 14M19 5L5 19",
    left: "M15 5l-7 7 7 7",
    right: "M9 5l7 7-7 7",
    search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5",
    filter: "M4 6h16M7 12h10M10 18h4",
    grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
    table: "M4 5h16v14H4zM4 10h16M10 5v14",
    compare: "M4 5h7v14H4zM13 5h7v14h-7z",
    sun: "M12 7a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5",
    moon: "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z",
    keys: "M9.5 9a2.5 2.5 0 1 1 3.5 2.3c-.7.4-1 .9-1 1.7M12 17v.2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
    copy: "M9 9h10v11H9zM5 15V4h10",
    star: "M12 3.5l2.6 5.5 6 .8-4.4 4.2 1.1 6L12 17.1 6.7 20l1.1-6L3.4 9.8l6-.8z",
    warn: "M12 4l9 16H3zM12 10v5M12 17.5v.2",
    ban: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM5.6 5.6l12.8 12.8",
    wait: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7v5l3 3",
  },

  icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    svg.classList.add("icon");
    path.setAttribute("d", Gallery.ICONS[name]);
    svg.append(path);
    return svg;
  },

  button(name, label, act, options = {}) {
    const { text, ...others } = options;
    return Gallery.el(
      "button.button",
      { type: "button", title: label, "aria-label": label, on: { click: act }, ...others },
      name ? Gallery.icon(name) : null,
      text ? Gallery.el("span", { text }) : null,
    );
  },

  // A short word to the person, which goes by itself.
  say(text) {
    const said = document.getElementById("said");
    said.textContent = text;
    said.classList.add("shown");
    clearTimeout(Gallery.saying);
    Gallery.saying = setTimeout(() => said.classList.remove("shown"), 4000);
  },

  async copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = Gallery.el("textarea.unseen", { "aria-hidden": "true" });
      area.value = text;
      (document.querySelector("dialog[open]") || document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    Gallery.say(`Copied: ${what}`);
  },
};
