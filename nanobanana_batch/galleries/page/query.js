// Which items are shown, and in which order: search, filters, sorting; and how many there would be otherwise.
"use strict";

(() => {
  let texts = null; // every different prompt, in small letters
  let ids = null;
  let asked = 0;

  const blocks = () => Math.ceil(Gallery.summary.items / Gallery.summary.in_a_block);

  async function loadTexts() {
    if (texts) return;
    const found = await Promise.all(Array.from({ length: blocks() }, (_, number) => Gallery.load("find", number)));
    if (texts || found.some((block) => !block)) return;
    texts = found.flatMap((block) => block.texts.map((text) => text.toLowerCase()));
    ids = found.flatMap((block) => block.ids.map((id) => id.toLowerCase()));
    for (let number = 0; number < found.length; number += 1) Gallery.loaded.delete(`find-${number}`);
  }

  Gallery.loadIndex = () =>
    Promise.all(Array.from({ length: blocks() }, (_, number) => Gallery.load("index", number)));

  // Words of a search; "two words" in quotes are one, and -word is not to be there.
  function terms(text) {
    return [...text.toLowerCase().matchAll(/(-?)(?:"([^"]*)"?|(\S+))/g)]
      .map(([, minus, quoted, plain]) => ({ isOut: minus === "-", word: quoted ?? plain }))
      .filter((term) => term.word);
  }

  function searched(text) {
    const all = terms(text);
    const items = Gallery.summary.items;
    const codes = Gallery.index["#text"];
    const hits = new Uint8Array(items).fill(1);
    for (const { word, isOut } of all) {
      const inText = texts.map((each) => each.includes(word));
      for (let item = 0; item < items; item += 1) {
        if (hits[item]) hits[item] = (inText[codes[item]] || ids[item].includes(word)) !== isOut ? 1 : 0;
      }
    }
    return hits;
  }

  // For each condition a test of an item.
  function conditions() {
    const { filters, ranges } = Gallery.state;
    const found = [];
    for (const [name, values] of Object.entries(filters)) {
      const column = Gallery.column(name);
      if (!column || column.kind !== "choice") continue;
      const wanted = new Uint8Array(column.values.length + 1);
      for (const value of values) {
        if (value === "") wanted[0] = 1;
        else if (column.values.includes(value)) wanted[column.values.indexOf(value) + 1] = 1;
      }
      const cells = Gallery.index[name];
      found.push({ name, holds: (item) => wanted[cells[item]] });
    }
    for (const [name, [low, high]] of Object.entries(ranges)) {
      const cells = Gallery.index[name];
      if (cells) found.push({ name, holds: (item) => cells[item] >= low && cells[item] <= high });
    }
    return found;
  }

  function ranks(name) {
    const column = Gallery.column(name);
    const cells = Gallery.index[name];
    if (column.kind === "number") return (item) => cells[item];
    const sorted = [...column.values].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    const rank = [NaN, ...column.values.map((value) => sorted.indexOf(value))];
    return (item) => rank[cells[item]];
  }

  function sort(order) {
    const isDown = Gallery.state.sort.startsWith("-");
    const name = isDown ? Gallery.state.sort.slice(1) : Gallery.state.sort;
    if (!name || !Gallery.column(name)) return;
    const rank = ranks(name);
    order.sort((a, b) => {
      const [x, y] = [rank(a), rank(b)];
      if (x === y || (Number.isNaN(x) && Number.isNaN(y))) return a - b;
      if (Number.isNaN(x)) return 1;
      if (Number.isNaN(y)) return -1;
      return (isDown ? y - x : x - y) || a - b;
    });
  }

  // How often each value would be there if its own column were not filtered by.
  function counts(hits, tests) {
    const columns = Gallery.summary.columns.filter((column) => column.kind === "choice");
    const found = Gallery.plain(Object.fromEntries(columns.map(({ name, values }) => [name, new Int32Array(values.length + 1)])));
    for (let item = 0; item < Gallery.summary.items; item += 1) {
      if (!hits[item]) continue;
      let failed = null;
      let misses = 0;
      for (const test of tests) {
        if (!test.holds(item)) {
          failed = test.name;
          misses += 1;
          if (misses > 1) break;
        }
      }
      if (misses === 0) for (const { name } of columns) found[name][Gallery.index[name][item]] += 1;
      else if (misses === 1 && found[failed]) found[failed][Gallery.index[failed][item]] += 1;
    }
    return found;
  }

  // Find out anew, then tell who shows it.
  Gallery.ask = async () => {
    const mine = (asked += 1);
    const { items } = Gallery.summary;
    await Gallery.loadIndex();
    if (Gallery.state.q.trim()) await loadTexts();
    if (mine !== asked || Gallery.indexed.size < blocks()) return;
    const began = performance.now();
    const hits = Gallery.state.q.trim() && texts ? searched(Gallery.state.q) : new Uint8Array(items).fill(1);
    const tests = conditions();
    const order = [];
    for (let item = 0; item < items; item += 1) {
      if (hits[item] && tests.every((test) => test.holds(item))) order.push(item);
    }
    sort(order);
    Gallery.order = order;
    Gallery.counts = counts(hits, tests);
    Gallery.tookMs = performance.now() - began;
    Gallery.tell("order");
  };
})();
