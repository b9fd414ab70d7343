"use strict";
// Elements, data and numbers. Text reaches the page through text nodes and attributes only: nothing that a
// model's name, caption or log says is ever parsed as markup.

const report = {};

// report.el("a", {href: "#/", onclick: go}, "Overview", otherNode)
report.el = (tag, properties = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
};

// ---- data: scripts that call report.put ---------------------------------------------------------------

const arrived = new Map();
const loading = new Map();

report.put = (name, value) => arrived.set(name, value);

report.script = (file) => {
  if (!loading.has(file)) {
    loading.set(file, new Promise((resolve, reject) => {
      const node = report.el("script", { src: file.split("/").map(encodeURIComponent).join("/") });
      node.onload = () => resolve(node.remove());
      node.onerror = () => {
        loading.delete(file);
        node.remove();
        reject(new Error(`${file} is missing`));
      };
      document.head.append(node);
    }));
  }
  return loading.get(file);
};

report.load = async (name, file) => {
  if (!arrived.has(name)) await report.script(file);
  return arrived.get(name);
};

// As load, for what is large and shown once: it is not kept.
report.take = async (name, file) => {
  await report.script(file);
  loading.delete(file);
  const value = arrived.get(name);
  arrived.delete(name);
  return value;
};

report.bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
report.floats = (base64) => new Float32Array(report.bytes(base64).buffer);
report.codes = (base64) => new Uint32Array(report.bytes(base64).buffer);
report.shorts = (base64) => new Int16Array(report.bytes(base64).buffer);

// ---- numbers for people -------------------------------------------------------------------------------

report.count = (value) => value.toLocaleString("en-US");

report.number = (value) => {
  if (value === null || Number.isNaN(value)) return "–";
  if (Number.isInteger(value)) return report.count(value);
  const size = Math.abs(value);
  if (size >= 1000) return report.count(Math.round(value));
  return size >= 0.001 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
};

report.size = (bytes) => {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (bytes >= size) return `${(bytes / size).toFixed(bytes < 10 * size ? 1 : 0)} ${unit}`;
  }
  return `${bytes} bytes`;
};

report.duration = (seconds) => {
  if (seconds < 100) return `${report.number(Number(seconds.toPrecision(3)))} s`;
  if (seconds < 6000) return `${(seconds / 60).toFixed(1)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
};

report.modelLink = (uid) => `#/model/${encodeURIComponent(uid)}`;

report.label = (name) => {
  const text = name.replace(/^n_(outside|hidden|solid)$/, "$1 points").replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
};

// A control with its label.
let fields = 0;
report.field = (text, control, kind = "") => {
  control.id ||= `field-${++fields}`;
  return report.el("span", { class: `field ${kind}` }, report.el("label", { for: control.id }, text), control);
};

report.select = (text, options, value, changed) => {
  const node = report.el("select", { onchange: () => changed(node.value) },
    options.map(([key, shown]) => report.el("option", { value: key, selected: key === value }, shown)));
  return report.field(text, node);
};

// A table of [label, value] rows.
report.facts = (rows, caption) => report.el("table", { class: "facts" },
  report.el("caption", { class: "hidden" }, caption),
  report.el("tbody", {}, rows.map(([name, value]) => report.el("tr", {},
    report.el("th", { scope: "row" }, name), report.el("td", {}, value)))));
