"use strict";
// Every model as a picture: search, filters, sorting by any measure. What is chosen is in the address.

report.gallery = (() => {
  const { el, count, number, label, select } = report;
  const SIZES = { small: [116, 138], medium: [168, 192], large: [248, 272] };
  const BINS = 40;
  const MOST_VALUES = 8; // of a facet, before "more"

  let index, columns, uids, folders, grid, parts, searched;
  const state = { q: "", sort: "", down: true, size: "medium", measure: "", facets: new Map(), ranges: new Map() };
  let order = new Uint32Array(0);

  // ---- columns ----------------------------------------------------------------------------------------

  const column = async (name) => {
    const known = columns.get(name);
    const data = await report.load(`column/${name}`, known.file);
    known.numbers ??= data.numbers && report.floats(data.numbers);
    known.codes ??= data.codes && (known.kind === "bytes" ? report.bytes(data.codes) : report.codes(data.codes));
    known.values ??= data.values;
    known.counts ??= data.counts;
    return known;
  };

  const ofKind = (kind) => [...columns.values()].filter((one) => one.kind === kind).map((one) => one.name);

  const open = async () => {
    index = await report.load("index", "data/index.js");
    columns = new Map(index.columns.map((one) => [one.name, { ...one }]));
    if (!index.rows) return;
    [uids, folders] = [(await column("uid")).values, (await column("folder")).codes];
  };

  const searchable = async () => {
    if (!searched) {
      const texts = await Promise.all(["uid", "source", "caption", "category"].filter((name) => columns.has(name)).map(column));
      searched = uids.map((_, row) => texts.map((one) => (one.codes ? one.values[one.codes[row]] : one.values[row])).join(" ").toLowerCase());
    }
    return searched;
  };

  // ---- what is shown, in order --------------------------------------------------------------------------

  const tests = async () => {
    const found = [];
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length) {
      const texts = await searchable();
      found.push((row) => words.every((word) => texts[row].includes(word)));
    }
    for (const [name, values] of state.facets) {
      const { codes, values: names } = await column(name);
      const wanted = new Set(names.flatMap((value, code) => (values.has(value) ? [code] : [])));
      found.push((row) => wanted.has(codes[row]));
    }
    for (const [name, [low, high]] of state.ranges) {
      const { numbers } = await column(name);
      found.push((row) => numbers[row] >= low && numbers[row] <= high);
    }
    return found;
  };

  const sorted = async (rows) => {
    const sign = state.down ? -1 : 1;
    if (state.sort === "name") return rows.sort((a, b) => -sign * (uids[a] < uids[b] ? -1 : 1));
    if (!state.sort) return rows;
    const { numbers } = await column(state.sort);
    const key = (row) => (Number.isNaN(numbers[row]) ? Infinity : sign * numbers[row]); // without a value: last
    return rows.sort((a, b) => key(a) - key(b) || a - b);
  };

  const choose = async () => {
    const checks = await tests();
    const rows = new Uint32Array(index.rows);
    let length = 0;
    for (let row = 0; row < index.rows; row++) if (checks.every((check) => check(row))) rows[length++] = row;
    return sorted(rows.slice(0, length));
  };

  let turn = 0;
  const refresh = async () => {
    const mine = ++turn;
    const found = await choose();
    if (mine !== turn) return; // a newer choice is on its way
    order = found;
    grid.show(order, ...SIZES[state.size]);
    parts.status.textContent = order.length === index.rows ? `${count(index.rows)} models` : `${count(order.length)} of ${count(index.rows)} models`;
    parts.empty.hidden = order.length > 0;
    chips();
    history.replaceState(null, "", address());
  };

  // ---- the address --------------------------------------------------------------------------------------

  const address = () => {
    const query = new URLSearchParams();
    if (state.q) query.set("q", state.q);
    if (state.sort) query.set("sort", state.sort);
    if (!state.down) query.set("up", "1");
    if (state.size !== "medium") query.set("size", state.size);
    for (const [name, values] of state.facets) for (const value of values) query.append(`is:${name}`, value);
    for (const [name, [low, high]] of state.ranges) query.set(`in:${name}`, `${low}..${high}`);
    const text = query.toString();
    return `#/gallery${text ? `?${text}` : ""}`;
  };

  const read = (query) => {
    Object.assign(state, { q: query.get("q") ?? "", sort: "", down: !query.has("up"), size: query.get("size") ?? "medium", facets: new Map(), ranges: new Map() });
    if (!Object.hasOwn(SIZES, state.size)) state.size = "medium";
    const sort = query.get("sort");
    if (sort === "name" || columns.get(sort)?.kind === "measure") state.sort = sort;
    for (const [key, value] of query) {
      const name = key.slice(3);
      if (key.startsWith("is:") && columns.get(name)?.kind === "facet") {
        state.facets.set(name, (state.facets.get(name) ?? new Set()).add(value));
      } else if (key.startsWith("in:") && columns.get(name)?.kind === "measure") {
        const bounds = value.split("..").map(Number);
        if (bounds.length === 2 && !bounds.some(Number.isNaN)) state.ranges.set(name, bounds);
      }
    }
  };

  // ---- cards --------------------------------------------------------------------------------------------

  const thumb = (row) => {
    const folder = folders[row].toString(16).padStart(2, "0");
    return `thumbs/${folder}/${encodeURIComponent(uids[row])}.webp`;
  };

  const card = (row, position) => {
    const numbers = columns.get(state.sort)?.numbers;
    return el("a", { class: "card", href: report.modelLink(uids[row]), onclick: () => { at = position; } },
      el("img", { src: thumb(row), alt: "", decoding: "async" }),
      el("span", { class: "name", title: uids[row] }, uids[row]),
      numbers ? el("span", { class: "value", "aria-label": `${label(state.sort)} ${number(numbers[row])}` }, number(Number(numbers[row].toPrecision(3)))) : null);
  };

  // ---- controls -----------------------------------------------------------------------------------------

  const toolbar = () => {
    const measures = ofKind("measure").map((name) => [name, label(name)]);
    const direction = el("button", { type: "button", class: "quiet", onclick: () => { state.down = !state.down; turned(); refresh(); } });
    const turned = () => {
      direction.textContent = state.down ? "↓" : "↑";
      direction.setAttribute("aria-label", state.down ? "Largest first; change to smallest first" : "Smallest first; change to largest first");
    };
    turned();
    return el("div", { class: "toolbar" },
      parts.status = el("p", { role: "status", "aria-live": "polite" }),
      select("Sort by", [["", "Dataset order"], ["name", "Name"], ...measures], state.sort, (value) => { state.sort = value; if (value && value !== "name") { state.measure = value; histogram(); } refresh(); }),
      direction,
      select("Size", Object.keys(SIZES).map((size) => [size, label(size)]), state.size, (value) => { state.size = value; refresh(); }));
  };

  const chips = () => {
    const drop = (text, act) => el("button", { type: "button", class: "chip", onclick: () => { act(); controls(); refresh(); } },
      text, el("span", { "aria-hidden": "true" }, "×"), el("span", { class: "hidden" }, "remove this filter"));
    const found = [];
    if (state.q) found.push(drop(`“${state.q}”`, () => { state.q = ""; }));
    for (const [name, values] of state.facets) {
      for (const value of values) found.push(drop(`${label(name)}: ${value}`, () => pick(name, value, false)));
    }
    for (const [name, [low, high]] of state.ranges) {
      found.push(drop(`${label(name)}: ${number(low)} to ${number(high)}`, () => state.ranges.delete(name)));
    }
    parts.chips.replaceChildren(...found);
  };

  const pick = (name, value, on) => {
    const values = state.facets.get(name) ?? new Set();
    if (on) values.add(value); else values.delete(value);
    if (values.size) state.facets.set(name, values); else state.facets.delete(name);
  };

  const facet = async (name, host) => {
    const { values, counts } = await column(name);
    const line = (value, code) => el("label", { class: "check" },
      el("input", { type: "checkbox", checked: Boolean(state.facets.get(name)?.has(value)), onchange: (event) => { pick(name, value, event.target.checked); refresh(); } }),
      el("span", { class: "name", title: value }, value), el("span", { class: "number" }, count(counts[code])));
    const list = el("div", {}, values.slice(0, MOST_VALUES).map(line));
    const rest = values.length - MOST_VALUES;
    const more = rest > 0 ? el("button", { type: "button", class: "link", onclick: () => {
      list.append(...values.slice(MOST_VALUES, 500).map((value, at) => line(value, at + MOST_VALUES)));
      more.remove();
    } }, `${count(rest)} more`) : null;
    host.append(el("fieldset", {}, el("legend", {}, label(name)), list, more));
  };

  // The chosen measure's histogram; a range is dragged in it or typed.
  const histogram = async () => {
    const host = parts.histogram;
    if (!state.measure) return host.replaceChildren();
    const { numbers } = await column(state.measure);
    let [low, high] = [Infinity, -Infinity];
    for (const value of numbers) { if (value < low) low = value; if (value > high) high = value; }
    const width = (high - low || 1) / BINS;
    const counts = new Array(BINS).fill(0);
    for (const value of numbers) if (!Number.isNaN(value)) counts[Math.min(BINS - 1, Math.floor((value - low) / width))]++;
    const set = (from, to) => {
      state.ranges.set(state.measure, [Number(from.toPrecision(4)), Number(to.toPrecision(4))]);
      controls();
      refresh();
    };
    const chart = el("div", {});
    const [from, to] = state.ranges.get(state.measure) ?? [low, high];
    const bound = (value) => el("input", { type: "number", step: "any", value: Number(value.toPrecision(4)), onchange: () => set(Number(least.value), Number(most.value)) });
    const [least, most] = [bound(from), bound(to)];
    host.replaceChildren(chart, el("div", { class: "range" }, report.field("From", least), report.field("To", most)));
    report.charts.histogram(chart, {
      label: `Histogram of ${label(state.measure)}, from ${number(low)} to ${number(high)}`,
      unit: null, counts, edges: Array.from({ length: BINS + 1 }, (_, at) => low + at * width), height: 110,
      chosen: (a, b) => set(Math.max(a, low), Math.min(b, high)),
    });
  };

  const controls = () => {
    const search = el("input", { type: "search", id: "search", placeholder: "Name, path, caption, category", value: state.q,
      oninput: () => { state.q = search.value; clearTimeout(parts.typing); parts.typing = setTimeout(refresh, 120); } });
    const measures = ofKind("measure").map((name) => [name, label(name)]);
    const facets = el("div", {});
    parts.side.replaceChildren(
      report.field("Search", search, "stacked"),
      el("fieldset", {}, el("legend", {}, "Measure"),
        select("Show", [["", "Choose a measure"], ...measures], state.measure, (value) => { state.measure = value; histogram(); }),
        parts.histogram = el("div", { class: "histogram" })),
      facets);
    histogram();
    ofKind("facet").reduce((before, name) => before.then(() => facet(name, facets)), Promise.resolve());
  };

  const build = (host) => {
    parts = {};
    const scroller = el("div", { class: "scroller" });
    parts.side = el("aside", { class: "side", "aria-label": "Filters" });
    parts.chips = el("div", { class: "chips" });
    parts.empty = el("p", { class: "note", hidden: true }, "No model matches. Remove a filter.");
    host.append(el("h1", { class: "hidden" }, "Gallery"), parts.side,
      el("div", { class: "results" }, toolbar(), parts.chips, parts.empty, scroller));
    grid = new report.Grid(scroller, card);
    controls();
  };

  // ---- the page -----------------------------------------------------------------------------------------

  let at = 0;
  let ready;
  const opened = () => (ready ??= open());

  const show = async (host, query) => {
    await opened();
    if (!index.rows) return host.replaceChildren(el("p", { class: "note" }, "No model is fused yet: run insideout fuse, then this report again."));
    if (host.childElementCount && (address() === location.hash || location.hash === "#/gallery")) {
      history.replaceState(null, "", address());
      return grid.draw();
    }
    read(query);
    state.measure = ofKind("measure").includes(state.sort) ? state.sort : [...state.ranges.keys()][0] ?? state.measure;
    host.replaceChildren();
    build(host);
    return refresh();
  };

  // Where a model stands among those shown: its neighbors for the model's page.
  const around = async (uid) => {
    await opened();
    if (!order.length) order = Uint32Array.from({ length: index.rows }, (_, row) => row);
    if (uids?.[order[at]] !== uid) at = uids ? order.findIndex((row) => uids[row] === uid) : -1;
    const row = at >= 0 ? order[at] : uids?.indexOf(uid) ?? -1;
    const name = (position) => (at >= 0 && position >= 0 && position < order.length ? uids[order[position]] : null);
    const folder = row >= 0 ? folders[row].toString(16).padStart(2, "0") : "";
    return { row, folder, page: row >= 0 && row < index.pages, position: at, total: order.length, before: name(at - 1), after: name(at + 1) };
  };

  // What a curation decided on a model; nothing where nobody has curated.
  const decided = async (row) => {
    const of = async (name) => { const one = await column(name); return one.codes ? one.values[one.codes[row]] : one.values[row]; };
    const names = ["decision", "bucket", "cluster", "reason"].filter((name) => columns.has(name));
    const values = await Promise.all(names.map(of));
    return names.map((name, at) => [name, values[at]]).filter(([, value]) => value && value !== "none");
  };

  return { show, around, decided, address: () => (index ? address() : "#/gallery") };
})();
