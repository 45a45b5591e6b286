// The head: what was made, what it cost, and what did not come; nothing is rounded in anybody's favour.
"use strict";

(() => {
  const { el, words } = Gallery;
  const ORDER = ["completed", "ready", "running", "pending", "unknown", "expired", "failed", "refused"];
  const LOST = ["failed", "refused", "expired"];

  function stat(number, label, options = {}) {
    const { kind = "", act = null, title = "" } = options;
    const inside = [el("b.stat-number", { text: number }), el("span.stat-label", { text: label })];
    if (!act) return el(`div.stat${kind}`, { title: title || null }, ...inside);
    return el(`button.stat${kind}`, { type: "button", title, on: { click: act } }, ...inside);
  }

  function statuses(summary) {
    const { by_status: counts } = summary.totals;
    return ORDER.filter((status) => counts[status]).flatMap((status) => {
      const sent = status === "unknown" && !summary.selected_by.length ? summary.spent.rows_being_sent : 0;
      const found = sent ? [stat(words.count(sent), "being sent", { kind: ".is-running" })] : [];
      if (counts[status] <= sent) return found;
      const options = {
        kind: `.is-${status}`,
        title: `Show only rows that are ${words.status(status)}`,
        act: () => Gallery.go({ filters: { status: [status] } }, true),
      };
      return [...found, stat(words.count(counts[status] - sent), words.status(status), options)];
    });
  }

  function share(totals) {
    const bar = el("div.share", { role: "img", "aria-label": "Shares of rows by what came of them" });
    for (const status of ORDER.filter((each) => totals.by_status[each])) {
      const part = el(`span.is-${status}`, { title: `${words.status(status)}: ${words.count(totals.by_status[status])}` });
      part.style.flexGrow = totals.by_status[status];
      bar.append(part);
    }
    return bar;
  }

  // What `status` says of money: sums over every request, also those of rows that have left the manifest.
  function money(summary) {
    const { spent, totals } = summary;
    const isWhole = !summary.selected_by.length;
    const isAllPractice = spent.practice > 0 && spent.practice >= spent.used;
    const label = isAllPractice ? "credits, of practice: nothing was paid" : `credits used${isWhole ? "" : ", by all rows"}`;
    const found = [stat(words.number(spent.used), label, { kind: ".is-money" })];
    if (!isWhole) found.push(stat(words.number(totals.credits), "charged so far for these rows"));
    const wasted = LOST.reduce((sum, status) => sum + (totals.credits_by_status[status] || 0), 0);
    if (wasted) found.push(stat(words.number(wasted), isWhole ? "of them for rows without an image" : "of these for rows without an image", { kind: ".is-failed" }));
    if (spent.reserved) found.push(stat(words.number(spent.reserved), "reserved, to come", { kind: ".is-running" }));
    if (spent.being_sent) found.push(stat(words.number(spent.being_sent), "being sent just now", { kind: ".is-running" }));
    if (spent.unknown) found.push(stat(words.number(spent.unknown), "perhaps, unanswered", { kind: ".is-unknown" }));
    return found;
  }

  function notes(summary) {
    const { spent, totals } = summary;
    const found = [];
    if (totals.practice) {
      const all = totals.practice === totals.rows;
      found.push([
        "is-practice",
        `${all ? "All of these are" : `Of these, ${words.counted(totals.practice, "row")} ${totals.practice === 1 ? "has" : "have"}`} placeholders: drawn by the practice service on a person's own machine, by no model, and not paid for.`,
      ]);
    }
    if (spent.practice && spent.practice < spent.used) {
      found.push(["is-practice", `${words.number(spent.practice)} of the credits used are make-believe, of placeholders.`]);
    }
    if (spent.rows_left) {
      found.push(["", `${words.counted(spent.rows_left, "row")} more ${spent.rows_left === 1 ? "was" : "were"} sent and left the manifest since: not shown here, but what was paid for is in the credits used.`]);
    }
    if (summary.selected_by.length) {
      found.push(["", `A selection (${summary.selected_by.join(" ")}): ${words.count(totals.rows)} of ${words.counted(summary.rows_in_all, "row")}.`]);
    }
    if (totals.without_price) {
      found.push(["", `Of ${words.counted(totals.without_price, "row")} the provider has not said what was charged; their credits are not in the sum.`]);
    }
    if (totals.not_readable) {
      found.push(["is-warned", `${words.counted(totals.not_readable, "image file")} cannot be shown; each says why.`]);
    }
    const open = ["ready", "running", "pending", "unknown"].reduce((sum, status) => sum + (totals.by_status[status] || 0), 0);
    if (summary.going_on) found.push(["is-going", `A run is going on: this is how things stood at ${words.time(summary.as_of)}.`]);
    else if (open) found.push(["", `${words.counted(open, "row")} did not come to an end yet; the next run goes on with them.`]);
    return found;
  }

  function reasons(totals) {
    if (!totals.reasons.length) return null;
    const lines = totals.reasons.map((reason) =>
      el(
        "li",
        {},
        el(
          "button.reason",
          { type: "button", on: { click: () => Gallery.go({ filters: { status: [reason.status], error_code: [reason.code] } }, true) } },
          el(`b.is-${reason.status}`, { text: `${words.count(reason.rows)} ${words.status(reason.status)}` }),
          el("code", { text: reason.code }),
          el("span.reason-text", { text: reason.message, dir: "auto" }),
          el("span.reason-cost", { text: `${words.number(reason.credits)} credits` }),
        ),
      ),
    );
    return el("details.reasons", {}, el("summary", { text: "Why rows have no image, and what they cost" }), el("ul", {}, ...lines));
  }

  Gallery.showHead = () => {
    const { summary } = Gallery;
    const { totals } = summary;
    document.title = `${summary.title} · gallery`;
    const made = `${words.counted(totals.images, "image")} of ${words.counted(totals.rows, "row")}`;
    Gallery.parts.head.replaceChildren(
      el(
        "div.head-top",
        {},
        el("h1", { text: summary.title, dir: "auto" }),
        el("p.head-when", { text: `${made} · as of ${words.time(summary.as_of)}` }),
        ...(summary.inline ? [] : [el("p.head-when", {}, el("a", { href: "report.html", text: "How the runs went" }))]),
      ),
      el("div.stats", {}, el("div.stats-group", {}, ...statuses(summary)), el("div.stats-group", {}, ...money(summary))),
      share(totals),
      ...notes(summary).map(([kind, text]) => el(`p.head-note${kind ? `.${kind}` : ""}`, { text, dir: "auto" })),
      ...[reasons(totals)].filter(Boolean),
    );
  };
})();
