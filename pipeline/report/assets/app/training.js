"use strict";
// The training runs: curves, sheets of samples over the steps, evaluations.

report.training = (() => {
  const { el, count, number, label } = report;

  const series = (run, key) => Object.entries(run.curves).filter(([, curve]) => curve[key])
    .map(([log, curve]) => ({ name: log === "loss" ? "training" : log, x: curve.step, y: curve[key], dash: log === "loss" ? undefined : [6, 3] }));

  const keys = (run) => [...new Set(Object.values(run.curves).flatMap((curve) => Object.keys(curve)))].filter((key) => key !== "step");

  const last = (values) => [...values].reverse().find((value) => value !== null) ?? null;

  const chart = (host, run, key, logarithmic) => {
    const shown = series(run, key);
    const text = shown.map(({ name, y }) => `${name} ends at ${number(last(y))}`).join(", ");
    report.charts.curves(host, { label: `${label(key)} over steps: ${text}`, series: shown, logarithmic });
  };

  const lasts = (run, names) => {
    const logs = Object.keys(run.curves);
    return el("details", {}, el("summary", {}, "Last values"), el("table", { class: "facts narrow" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Curve"), logs.map((log) => el("th", { scope: "col" }, log === "loss" ? "training" : log)))),
      el("tbody", {}, names.map((name) => el("tr", {}, el("th", { scope: "row" }, label(name)),
        logs.map((log) => el("td", {}, number(last(run.curves[log][name] ?? [])))))))));
  };

  const curves = (run) => {
    const names = keys(run).sort((a, b) => (b === "loss") - (a === "loss"));
    if (!names.length) return null;
    const host = el("div", {});
    const wide = el("input", { type: "checkbox", checked: true, onchange: () => draw() });
    let shown = names[0];
    const draw = () => {
      const inner = el("div", {});
      host.replaceChildren(inner);
      chart(inner, run, shown, wide.checked);
    };
    draw();
    return el("section", { class: "panel" },
      el("div", { class: "line" }, el("h2", {}, "Curves"), el("span", { class: "spring" }),
        report.select("Curve", names.map((name) => [name, label(name)]), shown, (name) => { shown = name; draw(); }),
        el("label", { class: "check inline" }, wide, "Logarithmic")), host,
      lasts(run, names));
  };

  const samples = (run) => {
    if (!run.samples.length) return null;
    const image = el("img", {});
    const text = el("output", {});
    const range = el("input", { type: "range", min: 0, max: run.samples.length - 1, step: 1, value: run.samples.length - 1, oninput: () => draw() });
    const draw = () => {
      const [step, file] = run.samples[Number(range.value)];
      image.src = file;
      image.alt = `Samples after step ${step}: image, generated cloud, true cloud per row`;
      text.textContent = `step ${count(step)}`;
    };
    draw();
    return el("section", { class: "panel" },
      el("div", { class: "line" }, el("h2", {}, "Samples"), el("span", { class: "spring" }), report.field("Step", range, "slide"), text),
      el("div", { class: "sheet" }, image));
  };

  const evaluations = (run) => {
    if (!run.evaluations.length) return null;
    const table = (caption, head, rows) => el("table", { class: "facts narrow" }, el("caption", { class: "hidden" }, caption),
      el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, rows.map(([name, ...values]) => el("tr", {}, el("th", { scope: "row" }, name), values.map((value) => el("td", {}, number(value)))))));
    return el("section", { class: "panel" }, el("h2", {}, "Evaluations"), run.evaluations.map((one) => [
      el("h3", {}, [one.name, one.about].filter(Boolean).join(": ")),
      el("div", { class: "columns" },
        one.scores.length ? table(`Scores of ${one.name}`, ["Score", "Value", "Floor", "Ceiling"], one.scores) : null,
        table(`Means of ${one.name}`, ["Mean", "Value"], one.means.map(([name, value]) => [label(name), value]))),
    ]));
  };

  const draw = (host, runs, at) => {
    const run = runs[at];
    host.replaceChildren(
      el("div", { class: "head" }, el("h1", {}, run.name), el("span", { class: "spring" }),
        runs.length > 1 ? report.select("Run", runs.map((one, index) => [String(index), one.name]), String(at), (index) => draw(host, runs, Number(index))) : ""),
      ...[curves(run), samples(run), evaluations(run),
        run.configuration ? el("section", { class: "panel" }, el("details", {}, el("summary", {}, "Configuration"), el("pre", { tabindex: "0" }, run.configuration))) : null,
      ].filter(Boolean));
  };

  const show = async (host) => {
    if (host.childElementCount) return;
    const runs = await report.load("runs", "data/runs.js");
    if (runs.length) draw(host, runs, runs.length - 1);
    else host.append(el("h1", { class: "hidden" }, "Training"), el("p", { class: "note" }, "No training run yet: insideout train writes one into this dataset."));
  };
  return { show };
})();
