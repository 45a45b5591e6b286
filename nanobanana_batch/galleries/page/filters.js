// The bar above (search, views, sorting) and the filters beside the pictures.
"use strict";

(() => {
  const { el, icon, button, words } = Gallery;
  const SHOWN = 8; // values of a column before "more"
  const open = new Map(); // which groups are open, and which show all their values

  // --- the bar --------------------------------------------------------------------------------------------------

  function search() {
    const input = el("input", {
      type: "search",
      id: "search",
      placeholder: "Search prompts and ids",
      "aria-label": "Search in prompts and ids",
      autocomplete: "off",
      spellcheck: "false",
    });
    let waiting;
    input.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => Gallery.go({ q: input.value }), 120);
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !input.value) input.blur();
      if (event.key === "Enter") Gallery.focusView();
    });
    return el("label.search", {}, icon("search"), input, el("kbd", { text: "/", "aria-hidden": "true" }));
  }

  function views() {
    const buttons = Gallery.views.map((view) =>
      button(view.icon, view.label, () => Gallery.go({ view: view.name }, true), { text: view.label, "data-view": view.name }),
    );
    return el("div.tabs", { role: "group", "aria-label": "View" }, ...buttons);
  }

  function select(label, options, value, act) {
    const found = el("select", { "aria-label": label, title: label });
    for (const [key, text] of options) found.append(el("option", { value: key, text, selected: key === value }));
    found.addEventListener("change", () => act(found.value));
    return found;
  }
  Gallery.select = select;

  function sorts() {
    const names = Gallery.summary.columns.filter(Gallery.differs);
    const both = names.flatMap(({ name, kind }) => {
      const label = words.label(name);
      const [up, down] = kind === "number" ? ["low first", "high first"] : ["A–Z", "Z–A"];
      return [
        [name, `${label}, ${up}`],
        [`-${name}`, `${label}, ${down}`],
      ];
    });
    return [["", "as in the manifest"], ...both];
  }

  Gallery.showBar = () => {
    const sizes = [
      ["s", "small"],
      ["m", "medium"],
      ["l", "large"],
    ];
    Gallery.parts.bar.replaceChildren(
      button("filter", "Filters (f)", () => Gallery.toggleFilters(), { text: "Filters", id: "filter-button" }),
      search(),
      views(),
      el(
        "div.bar-more",
        {},
        el("label.field", {}, el("span", { text: "Sort" }), select("Sort by", sorts(), Gallery.state.sort, (sort) => Gallery.go({ sort }))),
        el("label.field", {}, el("span", { text: "Size" }), select("Size", sizes, Gallery.state.size, (size) => Gallery.go({ size }))),
      ),
      el(
        "div.bar-end",
        {},
        button("sun", "Light or dark (d)", () => Gallery.toggleTheme(), { id: "theme" }),
        button("keys", "All keys (?)", () => Gallery.showKeys()),
      ),
    );
    Gallery.parts.search = document.getElementById("search");
  };

  function followBar() {
    const { state, parts } = Gallery;
    if (document.activeElement !== parts.search) parts.search.value = state.q;
    for (const each of parts.bar.querySelectorAll("[data-view]")) {
      each.setAttribute("aria-pressed", each.dataset.view === state.view ? "true" : "false");
    }
    const count = Object.keys(state.filters).length + Object.keys(state.ranges).length;
    const filterButton = document.getElementById("filter-button");
    filterButton.classList.toggle("is-on", count > 0);
    filterButton.querySelector("span").textContent = count ? `Filters · ${count}` : "Filters";
    const [sort, size] = parts.bar.querySelectorAll(".bar-more select");
    sort.value = state.sort;
    size.value = state.size;
  }

  // --- beside ---------------------------------------------------------------------------------------------------

  function choice(column, value, code) {
    const values = Gallery.state.filters[column.name] || [];
    const isOn = values.includes(value);
    const count = Gallery.counts[column.name][code];
    const text = value === "" ? (column.name === "rating" ? "not rated" : column.name === "verdict" ? "no verdict" : "none") : column.name === "rating" ? "★".repeat(Number(value)) : column.name === "status" ? words.status(value) : value;
    const box = el("input", { type: "checkbox", checked: isOn });
    box.addEventListener("change", () => {
      Gallery.goFilter(column.name, isOn ? values.filter((each) => each !== value) : [...values, value]);
    });
    return el(
      `label.choice${count || isOn ? "" : ".is-empty"}`,
      {},
      box,
      el(`span.choice-text${column.name === "status" ? `.is-${value}` : ""}`, { text, dir: "auto", title: text }),
      el("span.choice-count", { text: words.count(count) }),
    );
  }

  function choices(column) {
    const total = column.counts;
    const codes = column.values.map((_, index) => index + 1).filter((code) => total[code] || Gallery.counts[column.name][code]);
    if (total[0]) codes.push(0);
    const values = Gallery.state.filters[column.name] || [];
    const isWhole = open.get(`${column.name} all`) || codes.length <= SHOWN + 2;
    const shown = isWhole ? codes : codes.filter((code, at) => at < SHOWN || values.includes(code ? column.values[code - 1] : ""));
    const lines = shown.map((code) => choice(column, code ? column.values[code - 1] : "", code));
    if (!isWhole) {
      lines.push(
        el("button.more", {
          type: "button",
          text: `${words.count(codes.length - shown.length)} more`,
          on: { click: () => (open.set(`${column.name} all`, true), Gallery.showFilters()) },
        }),
      );
    }
    return lines;
  }

  function bounds(column) {
    const [low, high] = Gallery.state.ranges[column.name] || [-Infinity, Infinity];
    const field = (value, label, placeholder) =>
      el("input", { type: "number", step: "any", "aria-label": label, placeholder, value: Number.isFinite(value) ? value : null });
    const from = field(low, `${words.label(column.name)} from`, words.number(column.low).replaceAll(",", ""));
    const to = field(high, `${words.label(column.name)} to`, words.number(column.high).replaceAll(",", ""));
    const act = () => Gallery.goRange(column.name, [from.value === "" ? -Infinity : Number(from.value), to.value === "" ? Infinity : Number(to.value)]);
    from.addEventListener("change", act);
    to.addEventListener("change", act);
    return [el("div.bounds", {}, from, el("span", { text: "to" }), to)];
  }

  // Whether there is anything to choose.
  function isUseful(column) {
    if (column.name === "saved_at") return false;
    if (Gallery.state.filters[column.name] || Gallery.state.ranges[column.name]) return true;
    return Gallery.differs(column) || (Gallery.canRate && ["rating", "verdict"].includes(column.name));
  }

  function group(column) {
    const isUsed = column.name in Gallery.state.filters || column.name in Gallery.state.ranges;
    const isSaid = ["rating", "verdict"].includes(column.name) && Gallery.differs(column); // else it says only that nobody did
    const isFirst = isSaid || ["status", "model", ...Gallery.summary.variables].includes(column.name);
    const isOpen = open.get(column.name) ?? (isUsed || isFirst);
    const details = el(
      "details.group",
      { open: isOpen },
      el("summary", {}, el("span", { text: words.label(column.name), dir: "auto" }), isUsed ? el("i.dot", {}) : null),
      ...(column.kind === "number" ? bounds(column) : choices(column)),
    );
    details.addEventListener("toggle", () => open.set(column.name, details.open));
    return details;
  }

  Gallery.showFilters = () => {
    const { filters, view } = Gallery.parts;
    const had = filters.contains(document.activeElement) ? [...filters.querySelectorAll("input, button, summary")].indexOf(document.activeElement) : -1;
    const at = filters.scrollTop;
    const shown = words.counted(Gallery.order.length, "result");
    filters.replaceChildren(
      el(
        "div.filters-head",
        {},
        el("b", { text: Gallery.isFiltered() ? shown : words.counted(Gallery.summary.items, "item") }),
        Gallery.isFiltered() ? el("button.more", { type: "button", text: "Show all", on: { click: Gallery.showAll } }) : null,
        button("close", "Close filters", () => Gallery.toggleFilters(false), { class: "button only-narrow" }),
      ),
      ...Gallery.summary.columns.filter(isUseful).map(group),
    );
    filters.scrollTop = at;
    if (had >= 0) [...filters.querySelectorAll("input, button, summary")][had]?.focus();
    view.setAttribute("aria-label", shown);
  };

  Gallery.toggleFilters = (isOpen) => {
    const isNarrow = matchMedia("(max-width: 860px)").matches;
    const name = isNarrow ? "filters-shown" : "filters-hidden";
    const now = document.body.classList.contains(name);
    const wanted = isOpen === undefined ? !now : isNarrow ? isOpen : !isOpen;
    document.body.classList.toggle(name, wanted);
    Gallery.tell("resize");
  };

  Gallery.on("order", () => {
    followBar();
    Gallery.showFilters();
  });
  Gallery.on("state", followBar);
})();
