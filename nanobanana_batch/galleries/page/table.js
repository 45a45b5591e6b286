// The picture of a matrix: the values of one column down, those of another across, and what came of each pair.
"use strict";

(() => {
  const { el, words } = Gallery;
  const CELL = { s: 96, m: 168, l: 264 };
  const SIDE = 118; // of the labels at the left
  const MOST = 2000; // of values on one side
  const BEFORE = 400;

  let plan = null;
  let active = [0, 0];
  const cells = new Map();

  // What can stand on a side: what has few enough values that differ.
  const sides = () =>
    Gallery.summary.columns.filter((column) => column.kind === "choice" && Gallery.differs(column));

  function chosen() {
    const names = sides().map((column) => column.name);
    const better = [...Gallery.summary.variables, "model", "resolution", "aspect_ratio", "variant", "status"].filter((name) => names.includes(name));
    const cols = names.includes(Gallery.state.cols) ? Gallery.state.cols : better.find((name) => name !== Gallery.state.rows) || "";
    const rows = names.includes(Gallery.state.rows) ? Gallery.state.rows : better.find((name) => name !== cols) || "";
    return { rows, cols };
  }

  // The codes of a column that the shown items have, in the order in which the manifest has them; nothing last.
  function codes(name) {
    if (!name) return [0];
    const used = new Set(Gallery.order.map((item) => Gallery.index[name][item]));
    const found = [...used].filter(Boolean).sort((a, b) => a - b);
    if (used.has(0)) found.push(0);
    return found.slice(0, MOST);
  }

  function make() {
    const { rows, cols } = chosen();
    const [rowCodes, colCodes] = [codes(rows), codes(cols)];
    const [rowAt, colAt] = [rowCodes, colCodes].map((list) => new Map(list.map((code, at) => [code, at])));
    const items = new Map();
    for (const item of Gallery.order) {
      const row = rows ? rowAt.get(Gallery.index[rows][item]) : 0;
      const col = cols ? colAt.get(Gallery.index[cols][item]) : 0;
      if (row === undefined || col === undefined) continue;
      const key = row * colCodes.length + col;
      if (items.has(key)) items.get(key).push(item);
      else items.set(key, [item]);
    }
    const room = Gallery.parts.view.clientWidth - SIDE;
    const wide = Math.min(CELL[Gallery.state.size] * 1.5, Math.floor(room / colCodes.length));
    const cell = Math.min(Math.max(CELL[Gallery.state.size], wide), Math.max(88, Math.floor(room / 2)));
    return { rows, cols, rowCodes, colCodes, items, cell, tall: Math.round(cell / Gallery.ratio()) };
  }

  const named = (name, code) => (name ? (code ? Gallery.column(name).values[code - 1] : "none") : "all");

  function label(name, code, options) {
    const text = name === "status" ? words.status(named(name, code)) : named(name, code);
    return el("button.side", {
      type: "button",
      tabindex: "-1",
      text,
      dir: "auto",
      title: `${words.label(name)}: ${text}. Show only these`,
      style: options,
      on: { click: () => name && Gallery.go({ view: "grid", filters: { ...Gallery.state.filters, [name]: [code ? Gallery.column(name).values[code - 1] : ""] } }, true) },
    });
  }

  function cell(row, col) {
    const { cell: size, tall, colCodes, rowCodes, rows, cols, items } = plan;
    const found = items.get(row * colCodes.length + col) || [];
    const what = `${named(rows, rowCodes[row])}, ${named(cols, colCodes[col])}`;
    const element = el("div.cell", {
      role: "gridcell",
      id: `cell-${row}-${col}`,
      "aria-label": `${what}: ${found.length ? words.counted(found.length, "item") : "nothing"}`,
      "aria-selected": row === active[0] && col === active[1] ? "true" : "false",
      "data-row": row,
      "data-col": col,
      style: { width: `${size}px`, height: `${tall}px`, transform: `translate(${col * size}px, ${row * tall}px)` },
    });
    const inside = el("div.tile", {});
    if (!found.length) inside.classList.add("is-none");
    element.append(inside);
    if (found.length) {
      const best = found.find((item) => Gallery.value("status", item) === "completed") ?? found[0];
      Gallery.fill(inside, best);
    }
    if (found.length > 1) {
      const done = found.filter((item) => Gallery.value("status", item) === "completed").length;
      const text = done === found.length ? words.count(done) : `${done} of ${found.length}`;
      element.append(el("span.count", { text, title: `${done} with an image, ${found.length} in all` }));
    }
    return element;
  }

  function draw() {
    if (!plan || Gallery.state.view !== "table") return;
    const { stage } = Gallery.parts;
    const { cell: size, tall, rowCodes, colCodes, canvas, head, side } = plan;
    const top = stage.scrollTop - plan.root.offsetTop;
    const firstRow = Math.max(0, Math.floor((top - BEFORE) / tall));
    const lastRow = Math.min(rowCodes.length, Math.ceil((top + stage.clientHeight + BEFORE) / tall));
    const firstCol = Math.max(0, Math.floor((stage.scrollLeft - BEFORE) / size));
    const lastCol = Math.min(colCodes.length, Math.ceil((stage.scrollLeft + stage.clientWidth + BEFORE) / size));
    const wanted = new Set();
    for (let row = firstRow; row < lastRow; row += 1) {
      add(`r${row}`, side, () => label(plan.rows, rowCodes[row], { height: `${tall}px`, transform: `translateY(${row * tall}px)` }), wanted);
      for (let col = firstCol; col < lastCol; col += 1) add(`${row},${col}`, canvas, () => cell(row, col), wanted);
    }
    for (let col = firstCol; col < lastCol; col += 1) {
      add(`c${col}`, head, () => label(plan.cols, colCodes[col], { width: `${size}px`, transform: `translateX(${col * size}px)` }), wanted);
    }
    for (const [key, element] of cells) {
      if (wanted.has(key)) continue;
      element.remove();
      cells.delete(key);
    }
    canvas.setAttribute("aria-activedescendant", `cell-${active[0]}-${active[1]}`);
  }

  function add(key, parent, makeOne, wanted) {
    wanted.add(key);
    if (cells.has(key)) return;
    const element = makeOne();
    cells.set(key, element);
    parent.append(element);
  }

  function openCell(row, col) {
    const found = plan.items.get(row * plan.colCodes.length + col);
    if (found) Gallery.open(found[0], found.length > 1 ? found : Gallery.order);
  }

  function move(row, col) {
    cells.get(active.join(","))?.setAttribute("aria-selected", "false");
    active = [Math.max(0, Math.min(plan.rowCodes.length - 1, row)), Math.max(0, Math.min(plan.colCodes.length - 1, col))];
    const { stage } = Gallery.parts;
    const { cell: size, tall, root, head, side } = plan;
    const top = root.offsetTop + active[0] * tall;
    const left = active[1] * size;
    if (top < stage.scrollTop) stage.scrollTop = top;
    if (top + tall + head.offsetHeight > stage.scrollTop + stage.clientHeight) stage.scrollTop = top + tall + head.offsetHeight - stage.clientHeight;
    if (left < stage.scrollLeft) stage.scrollLeft = left;
    if (left + size + side.offsetWidth > stage.scrollLeft + stage.clientWidth) stage.scrollLeft = left + size + side.offsetWidth - stage.clientWidth;
    draw();
    cells.get(active.join(","))?.setAttribute("aria-selected", "true");
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [row, col] = active;
    const steps = { ArrowLeft: [row, col - 1], ArrowRight: [row, col + 1], ArrowUp: [row - 1, col], ArrowDown: [row + 1, col], Home: [row, 0], End: [row, plan.colCodes.length - 1] };
    if (steps[event.key]) move(...steps[event.key]);
    else if (event.key === "Enter" || event.key === " ") openCell(row, col);
    else return;
    event.preventDefault();
  }

  function choosers() {
    const options = sides().map((column) => [column.name, words.label(column.name)]);
    const { rows, cols } = plan;
    return el(
      "div.choosers",
      {},
      el("label.field", {}, el("span", { text: "Rows" }), Gallery.select("Rows of the table", options, rows, (name) => Gallery.go({ rows: name, cols: name === cols ? rows : cols }, true))),
      Gallery.button(null, "Swap rows and columns", () => Gallery.go({ rows: cols, cols: rows }, true), { text: "⇄" }),
      el("label.field", {}, el("span", { text: "Columns" }), Gallery.select("Columns of the table", options, cols, (name) => Gallery.go({ cols: name, rows: name === rows ? cols : rows }, true))),
      el("span.choosers-count", { text: `${words.count(plan.rowCodes.length)} × ${words.count(plan.colCodes.length)}` }),
    );
  }

  function show() {
    cells.clear();
    plan = null;
    const { view } = Gallery.parts;
    if (sides().length < 1) return view.replaceChildren(Gallery.nothing("No table of this", "A table needs a variable, or another column, with at least two values."));
    if (!Gallery.order.length) return view.replaceChildren(Gallery.nothing("Nothing is like that", "No image, and no row without one, meets all of what is asked for."));
    plan = make();
    active = [0, 0];
    const { cell: size, tall, rowCodes, colCodes } = plan;
    plan.head = el("div.table-head", { style: { width: `${colCodes.length * size}px` } });
    plan.side = el("div.table-side", { style: { height: `${rowCodes.length * tall}px` } });
    plan.canvas = el("div.table-cells", {
      role: "grid",
      tabindex: "0",
      "aria-label": `${words.label(plan.rows)} by ${words.label(plan.cols)}`,
      "aria-rowcount": rowCodes.length,
      "aria-colcount": colCodes.length,
      style: { width: `${colCodes.length * size}px`, height: `${rowCodes.length * tall}px` },
      on: { keydown: keys },
    });
    plan.canvas.addEventListener("click", (event) => {
      const found = event.target.closest(".cell");
      if (!found) return;
      move(Number(found.dataset.row), Number(found.dataset.col));
      openCell(...active);
    });
    const corner = el("div.table-corner", {}, el("span", { text: words.label(plan.cols) }), el("span", { text: words.label(plan.rows) }));
    plan.root = el("div.matrix", {}, corner, plan.head, plan.side, plan.canvas);
    view.replaceChildren(choosers(), plan.root);
    draw();
  }

  Gallery.addView({
    name: "table",
    label: "Table",
    icon: "table",
    show,
    draw,
    resize: show,
    focus: () => plan && plan.canvas.focus({ preventScroll: true }),
    changed: () => {},
  });
})();
