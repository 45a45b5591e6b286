// Every key, in one list, from which the page of help is made.
"use strict";

(() => {
  const { el } = Gallery;
  const all = [];

  // {keys, help, where, run}; where: "anywhere", "pictures" (no item is open) or "image" (one is).
  Gallery.addKeys = (...more) => all.push(...more);

  const isOpen = () => Gallery.state.item !== null;
  const fits = (where) => where === "anywhere" || (where === "image") === isOpen();

  function isTyping(target) {
    return target.isContentEditable || ["TEXTAREA", "SELECT"].includes(target.tagName) || (target.tagName === "INPUT" && !["checkbox", "range"].includes(target.type));
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (isTyping(event.target)) return;
    if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
    if (Gallery.parts.help?.open && event.key !== "?") return;
    const found = all.find((each) => each.run && each.keys.includes(event.key) && fits(each.where));
    if (!found) return;
    event.preventDefault();
    found.run(event);
  });

  const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space" };

  Gallery.showKeys = () => {
    const { help } = Gallery.parts;
    if (help.open) return help.close();
    const titles = { pictures: "Pictures", image: "One image", anywhere: "Everywhere" };
    const parts = Object.entries(titles).map(([where, title]) =>
      el(
        "section",
        {},
        el("h3", { text: title }),
        el("dl.keys", {}, ...all.filter((each) => each.where === where).flatMap((each) => [el("dt", {}, ...each.keys.map((key) => el("kbd", { text: NAMES[key] || key }))), el("dd", { text: each.help })])),
      ),
    );
    help.replaceChildren(el("div.help-head", {}, el("h2", { text: "Keys" }), Gallery.button("close", "Close", () => help.close())), el("div.help-body", {}, ...parts));
    help.showModal();
  };

  const view = (name) => () => Gallery.go({ view: name }, true);
  const move = (by) => () => Gallery.step(by);

  Gallery.addKeys(
    { keys: ["/"], where: "pictures", help: "Search", run: () => Gallery.parts.search.focus() },
    { keys: ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"], where: "pictures", help: "Go from picture to picture" },
    { keys: ["Enter"], where: "pictures", help: "Look at it" },
    { keys: ["g"], where: "pictures", help: "Grid", run: view("grid") },
    { keys: ["t"], where: "pictures", help: "Table", run: view("table") },
    { keys: ["v"], where: "pictures", help: "Side by side", run: view("compare") },
    { keys: ["f"], where: "pictures", help: "Filters, open or shut", run: () => Gallery.toggleFilters() },
    { keys: ["+", "="], where: "pictures", help: "Larger", run: () => size(1) },
    { keys: ["-"], where: "pictures", help: "Smaller", run: () => size(-1) },
    { keys: ["Escape"], where: "pictures", help: "Show all again", run: () => Gallery.isFiltered() && Gallery.showAll() },
    { keys: ["ArrowRight", "j"], where: "image", help: "The next one", run: move(1) },
    { keys: ["ArrowLeft", "k"], where: "image", help: "The one before", run: move(-1) },
    { keys: ["z"], where: "image", help: "As large as it is, or fitted", run: () => Gallery.zoom() },
    { keys: ["s"], where: "image", help: "Slider over source and result", run: () => Gallery.slide() },
    { keys: ["c"], where: "image", help: "Copy the prompt", run: copyPrompt },
    { keys: ["o"], where: "image", help: "Open the file itself", run: openFile },
    { keys: ["Escape"], where: "image", help: "Close", run: () => Gallery.close() },
    { keys: ["d"], where: "anywhere", help: "Light or dark", run: () => Gallery.toggleTheme() },
    { keys: ["?"], where: "anywhere", help: "These keys", run: () => Gallery.showKeys() },
  );

  function size(by) {
    const sizes = ["s", "m", "l"];
    const next = sizes[sizes.indexOf(Gallery.state.size) + by];
    if (next) Gallery.go({ size: next });
  }

  function copyPrompt() {
    const record = Gallery.item(Gallery.state.item);
    if (record?.prompt) Gallery.copy(record.prompt, "prompt");
  }

  function openFile() {
    const record = Gallery.item(Gallery.state.item);
    if (record?.url) window.open(record.url, "_blank", "noopener");
  }
})();
