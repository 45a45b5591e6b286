// Puts the page together, and keeps what is shown true to what is asked for.
"use strict";

(() => {
  const { parts, state } = Gallery;
  const THEME = "nanobanana-gallery-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");

  for (const name of ["bar", "filters", "stage", "head", "view", "single", "help"]) parts[name] = document.getElementById(name);

  // --- light and dark -------------------------------------------------------------------------------------------

  function theme(name) {
    document.documentElement.dataset.theme = name;
    document.getElementById("theme")?.replaceChildren(Gallery.icon(name === "dark" ? "sun" : "moon"));
  }

  function remembered() {
    try {
      return localStorage.getItem(THEME);
    } catch {
      return null; // a browser that keeps nothing for files
    }
  }

  Gallery.toggleTheme = () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    theme(next);
    try {
      localStorage.setItem(THEME, next);
    } catch {
      // it holds until the page is closed
    }
  };
  dark.addEventListener("change", () => remembered() || theme(dark.matches ? "dark" : "light"));

  // --- what is shown --------------------------------------------------------------------------------------------

  Gallery.viewNow = () => Gallery.views.find((view) => view.name === state.view) || Gallery.views[0];
  Gallery.focusView = () => Gallery.viewNow().focus();

  function show(isNew) {
    parts.stage.dataset.view = state.view;
    const top = parts.head.offsetHeight;
    if (isNew && parts.stage.scrollTop > top) parts.stage.scrollTop = top;
    parts.stage.scrollLeft = 0;
    Gallery.viewNow().show();
  }

  Gallery.on("order", () => {
    show(true);
    Gallery.showSingle();
  });
  Gallery.on("state", (changes) => {
    if (["view", "size", "rows", "cols", "across"].some((name) => name in changes)) show("view" in changes);
    if ("item" in changes) Gallery.showSingle();
  });
  Gallery.on("changed", (number) => {
    Gallery.viewNow().changed(number);
  });
  Gallery.on("resize", () => Gallery.viewNow().resize());

  let isDrawing = false;
  parts.stage.addEventListener(
    "scroll",
    () => {
      if (isDrawing) return;
      isDrawing = true;
      requestAnimationFrame(() => {
        isDrawing = false;
        Gallery.viewNow().draw();
      });
    },
    { passive: true },
  );
  let width = 0;
  new ResizeObserver(() => {
    if (parts.stage.clientWidth === width) return Gallery.order.length && Gallery.viewNow().draw();
    const isFirst = width === 0;
    width = parts.stage.clientWidth;
    if (!isFirst && Gallery.order.length) Gallery.viewNow().resize();
  }).observe(parts.stage);

  // --- begin ----------------------------------------------------------------------------------------------------

  if (!Gallery.summary) {
    parts.view.append(Gallery.el("div.empty", {}, Gallery.el("h2", { text: "The data are not here" }), Gallery.el("p", { text: "The folder “data” belongs beside this page." })));
    return;
  }
  Gallery.showHead();
  Gallery.showBar();
  theme(remembered() || (dark.matches ? "dark" : "light"));
  Gallery.tell("ready");
  Gallery.ask();
})();
