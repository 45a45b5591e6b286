// One picture in small, wherever it is shown; what has no picture says why.
"use strict";

(() => {
  const { el, icon, words } = Gallery;
  const SIGNS = { failed: "warn", refused: "ban", expired: "warn" };

  // What a picture is called for who does not see it.
  function named(record) {
    const prompt = (record.prompt || "").slice(0, 200);
    return `${record.id}, ${words.status(record.status)}: ${prompt}`;
  }

  function reason(record) {
    const status = record.status;
    const why = record.error_message || record.error_code || "";
    const isOpen = ["ready", "running", "unknown"].includes(status); // of these some is only reserved
    const cost = record.credits === undefined ? "" : `${words.number(record.credits)} credits${isOpen ? " so far, or reserved" : ""}`;
    return el(
      `div.why.is-${status}`,
      {},
      el("span.why-head", {}, icon(SIGNS[status] || "wait"), el("b", { text: words.status(status) })),
      record.error_code ? el("span.why-code", { text: record.error_code }) : null,
      why && why !== record.error_code ? el("span.why-text", { text: why, dir: "auto" }) : null,
      cost && status !== "pending" ? el("span.why-cost", { text: cost }) : null,
    );
  }

  function image(record) {
    if (!record.thumb) {
      return el(
        "div.why.is-failed",
        {},
        el("span.why-head", {}, icon("warn"), el("b", { text: "cannot be shown" })),
        el("span.why-text", { text: record.problem || "", dir: "auto" }),
      );
    }
    const shown = el("img.thumb", { alt: "", src: Gallery.thumbUrl(record.thumb), decoding: "async", draggable: "false" });
    shown.addEventListener("load", () => shown.classList.add("there"));
    shown.addEventListener("error", () => shown.replaceWith(el("div.why", { text: "thumbnail missing" })));
    if (shown.complete) shown.classList.add("there");
    return shown;
  }

  function marks(record) {
    const found = [];
    const { practice, rows } = Gallery.summary.totals; // where all are placeholders, the head says so
    if (record.practice && record.thumb && practice < rows) found.push(el("span.mark.is-practice", { text: "placeholder" }));
    if (record.stands) found.push(el("span.mark.is-warned", { text: record.stands }));
    if (record.verdict) found.push(el(`span.mark.is-${record.verdict}`, { text: record.verdict === "accepted" ? "✓" : "✕", title: record.verdict }));
    if (record.rating) found.push(el("span.mark.is-rated", { text: "★".repeat(record.rating), title: `rated ${record.rating}` }));
    return found.length ? el("div.marks", {}, ...found) : null;
  }

  // Fills an element with what is known of an item, as soon as it is.
  Gallery.fill = (element, number) => {
    const show = (record) => {
      if (!record) return;
      element.setAttribute("aria-label", named(record));
      const box = el("div.box", {}, record.url || record.thumb || record.problem ? image(record) : reason(record), marks(record));
      element.replaceChildren(box);
      element.classList.add("known");
      if (element.dataset.caption) element.append(caption(record));
    };
    const record = Gallery.item(number);
    if (record) show(record);
    else Gallery.fetchItem(number).then((found) => element.isConnected && show(found));
    return element;
  };

  function caption(record) {
    const { variables } = Gallery.summary;
    const told = variables.map((name) => record[name]).filter((value) => value !== undefined);
    const line = told.length ? told.join(" · ") : record.id;
    return el(
      "div.caption",
      {},
      el("div.caption-text", { text: record.prompt || record.id, dir: "auto" }),
      el("div.caption-more", { text: line, dir: "auto" }),
    );
  }

  // Two pictures over each other, with a handle between them. `urls` are of before and after.
  Gallery.slider = (urls, label) => {
    const handle = el("input.slider-range", { type: "range", min: 0, max: 100, step: 0.5, value: 50, "aria-label": label });
    const after = el("img.slider-after", { alt: "result", src: urls[1], draggable: "false" });
    const slider = el(
      "div.slider",
      {},
      el("img.slider-before", { alt: "source", src: urls[0], draggable: "false" }),
      after,
      el("div.slider-line", {}),
      el("span.slider-name.is-before", { text: "source" }),
      el("span.slider-name.is-after", { text: "result" }),
      handle,
    );
    handle.addEventListener("input", () => slider.style.setProperty("--at", `${handle.value}%`));
    return slider;
  };

  // The first picture that was edited, as far as it can be shown.
  Gallery.sourceOf = (record) => (record.sources || []).find((source) => source.thumb);
})();
