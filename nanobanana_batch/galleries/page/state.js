// What is looked at and how, which stands in the address: a link leads to the same view.
//
// #view=table&q=fox&f.style=ink&f.style=photo&n.credits=2..5&sort=-credits&item=12
"use strict";

(() => {
  const START = { view: "grid", q: "", sort: "", size: "m", rows: "", cols: "", across: "", item: null };

  const none = () => Object.create(null); // columns may have any name
  const state = { ...START, filters: none(), ranges: none() };
  Gallery.state = state;

  const bound = (text, none) => (text && !Number.isNaN(Number(text)) ? Number(text) : none);

  function read() {
    const told = new URLSearchParams(location.hash.slice(1));
    Object.assign(state, START, { filters: none(), ranges: none() });
    for (const [key, value] of told) {
      if (key.startsWith("f.")) (state.filters[key.slice(2)] = state.filters[key.slice(2)] || []).push(value);
      else if (key.startsWith("n.")) {
        const [low, high] = value.split("..");
        state.ranges[key.slice(2)] = [bound(low, -Infinity), bound(high, Infinity)];
      } else if (key === "item") state.item = /^\d+$/.test(value) ? Number(value) : null;
      else if (Object.hasOwn(START, key)) state[key] = value;
    }
    if (!["s", "m", "l"].includes(state.size)) state.size = START.size;
  }

  function write(isStep) {
    const told = new URLSearchParams();
    for (const key of Object.keys(START)) {
      if (state[key] !== START[key] && state[key] !== null) told.append(key, state[key]);
    }
    for (const [name, values] of Object.entries(state.filters)) {
      for (const value of values) told.append(`f.${name}`, value);
    }
    for (const [name, [low, high]] of Object.entries(state.ranges)) {
      told.append(`n.${name}`, `${Number.isFinite(low) ? low : ""}..${Number.isFinite(high) ? high : ""}`);
    }
    const address = `#${told}`;
    if (address !== location.hash) history[isStep ? "pushState" : "replaceState"](null, "", address);
  }

  const ASKS = ["q", "sort", "filters", "ranges"]; // what decides which items there are

  // Other values for some of it. `isStep`: "back" leads to what was before.
  Gallery.go = (changes, isStep = false) => {
    Object.assign(state, changes);
    for (const name of ["filters", "ranges"]) state[name] = Gallery.plain(state[name]);
    write(isStep);
    if (ASKS.some((name) => name in changes)) Gallery.ask();
    else Gallery.tell("state", changes);
  };

  Gallery.goFilter = (name, values) => {
    const filters = { ...state.filters, [name]: values };
    if (!values || !values.length) delete filters[name];
    Gallery.go({ filters });
  };

  Gallery.goRange = (name, range) => {
    const ranges = { ...state.ranges, [name]: range };
    if (!range || (range[0] === -Infinity && range[1] === Infinity)) delete ranges[name];
    Gallery.go({ ranges });
  };

  Gallery.isFiltered = () => Boolean(state.q || Object.keys(state.filters).length || Object.keys(state.ranges).length);

  Gallery.showAll = () => Gallery.go({ q: "", filters: {}, ranges: {} });

  window.addEventListener("popstate", () => {
    read();
    Gallery.ask();
  });
  read();
})();
