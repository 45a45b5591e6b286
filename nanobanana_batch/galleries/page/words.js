// How numbers, times and statuses are told.
"use strict";

(() => {
  const WORDS = {
    __proto__: null, // no names but these
    completed: "completed",
    failed: "failed",
    refused: "refused",
    expired: "expired",
    unknown: "unanswered",
    pending: "not sent yet",
    running: "running",
    ready: "on its way",
  };
  const LABELS = {
    __proto__: null,
    aspect_ratio: "aspect ratio",
    output_format: "format",
    web_search: "web search",
    image_search: "image search",
    thinking_level: "thinking",
    image_number: "image of the row",
    media_type: "file type",
    error_code: "reason",
    error_message: "message",
    rating_note: "a note on it",
    duplicate_of: "same bytes as another",
    size_bytes: "file size",
    saved_at: "saved",
    intended_at: "sent",
    accepted_at: "accepted",
    answered_at: "answered",
    ended_at: "ended",
    task_id: "task",
    row_key: "row key",
    seconds: "seconds to the file",
    source: "in the manifest",
    stands: "the file",
    extra: "settings",
    sha256: "SHA-256",
    image: "file",
  };

  // Not whatever ends so: a variable may be "looking_at".
  const TIMES = new Set(["intended_at", "accepted_at", "answered_at", "ended_at", "saved_at"]);

  const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
  const exact = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 2 });
  const small = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });
  const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

  Gallery.words = {
    status: (status) => WORDS[status] || status,
    label: (name) => LABELS[name] || name.replace(/^(var_|check_)/, "").replaceAll("_", " "),
    count: (number) => whole.format(number),
    // As the command line writes an amount: 19,920 or 0.25; of less than one three digits.
    number: (number) => (Math.abs(number) >= 1 || number === 0 ? exact : small).format(number),
    counted: (number, noun) => `${whole.format(number)} ${noun}${number === 1 ? "" : "s"}`,
    time: (seconds) => moment.format(new Date(seconds * 1000)),
    bytes(size) {
      const units = ["B", "kB", "MB", "GB"];
      let power = 0;
      for (; size >= 1000 && power < units.length - 1; power += 1) size /= 1000;
      return `${exact.format(Number(size.toPrecision(3)))} ${units[power]}`;
    },
    // What a cell is in a table for people.
    cell(name, value) {
      if (TIMES.has(name)) return Gallery.words.time(value);
      if (name === "size_bytes") return Gallery.words.bytes(value);
      if (name === "status") return Gallery.words.status(value);
      if (typeof value === "number") return exact.format(value);
      return String(value);
    },
  };
})();
