"use strict";
// Counts, failures by class, time and memory, and how the dataset was made.

report.overview = (() => {
  const { el, count, number } = report;

  const tile = (value, name, note) => el("div", { class: "tile" },
    el("strong", {}, value), el("span", {}, name), note ? el("small", {}, note) : null);

  const tiles = (data) => {
    const [render, fuse] = ["render", "fuse"].map((name) => data.stages.find((stage) => stage.stage === name));
    const failed = (stage) => (stage && stage.failed ? `${count(stage.failed)} failed` : "none failed");
    return el("div", { class: "tiles" },
      render ? tile(count(render.ok), "models rendered", failed(render)) : null,
      fuse ? tile(count(fuse.ok), "models fused", failed(fuse)) : null,
      tile(count(data.rows), "rows", `${count(data.shards)} ${data.shards === 1 ? "shard" : "shards"}, ${report.size(data.bytes)}`),
      data.stages.map((stage) => tile(report.duration(stage.measures[0].total), `of ${{ render: "rendering", fuse: "fusing" }[stage.stage]}, summed over models`,
        stage.run && stage.run.seconds ? `newest run took ${report.duration(stage.run.seconds)}` : null)));
  };

  const example = (failure) => el("details", { class: "failure" },
    el("summary", {},
      el("code", {}, failure.source || failure.uid), el("span", {}, failure.message.split("\n")[0] || "no message")),
    el("p", { class: "muted" }, [failure.code, report.duration(failure.seconds), `${count(failure.memory)} MiB`,
      `attempt ${failure.attempt}`].filter(Boolean).join(" · ")),
    failure.message.includes("\n") ? el("pre", {}, failure.message) : null,
    failure.log ? el("pre", { tabindex: "0", role: "region", "aria-label": "End of the log" }, failure.log) : el("p", { class: "muted" }, "No log."));

  const group = (kind, most) => el("details", { class: "kind" },
    el("summary", {},
      el("span", { class: "name" }, kind.class), el("span", { class: "number" }, count(kind.count)),
      el("meter", { min: 0, max: most, value: kind.count, "aria-label": `${kind.count} models` })),
    kind.examples.map(example),
    kind.count > kind.examples.length ? el("p", { class: "muted" }, `${count(kind.count - kind.examples.length)} more: insideout failures DATASET --class ${kind.class}`) : null);

  const failures = (stages) => {
    const failed = stages.filter((stage) => stage.failures.length);
    if (!failed.length) return el("section", { class: "panel" }, el("h2", {}, "Failures"), el("p", { class: "muted" }, "No model failed."));
    return el("section", { class: "panel" }, el("h2", {}, "Failures"),
      failed.map((stage) => [
        el("h3", {}, `${report.label(stage.stage)}: ${count(stage.failed)} of ${count(stage.failed + stage.ok)}`),
        stage.failures.map((kind) => group(kind, Math.max(...stage.failures.map((one) => one.count)))),
      ]));
  };

  const distribution = (stage, measure) => {
    const host = el("div", {});
    const [low, middle, high, top] = measure.quantiles.map((value) => number(Number(value.toPrecision(3))));
    report.charts.histogram(host, {
      label: `${measure.name} to ${stage}: median ${middle}, 95 % below ${high}, largest ${top}`,
      unit: measure.name, counts: measure.counts, edges: measure.edges, height: 150,
    });
    return el("div", { class: "distribution" },
      el("h3", {}, `${report.label(stage)}: ${measure.name}`),
      host,
      el("dl", { class: "quantiles" }, [["5 %", low], ["median", middle], ["95 %", high], ["largest", top]].map(([name, value]) =>
        el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
      el("details", {}, el("summary", {}, "Largest"),
        el("ol", { class: "largest" }, measure.largest.map(([uid, source, value]) => el("li", {},
          el("a", { href: report.modelLink(uid), title: source }, uid), el("span", {}, number(Number(value.toPrecision(3)))))))));
  };

  const costs = (stages) => el("section", { class: "panel" }, el("h2", {}, "Time and memory per model"),
    el("div", { class: "distributions" }, stages.map((stage) => stage.measures.map((measure) => distribution(stage.stage, measure)))));

  const made = (data) => el("section", { class: "panel" }, el("h2", {}, "Made with"),
    el("div", { class: "columns" },
      report.facts(data.versions, "Versions"),
      data.configuration.map(([stage, text]) => el("details", {}, el("summary", {}, `Configuration of ${stage}`), el("pre", { tabindex: "0" }, text)))));

  const show = async (host) => {
    if (host.childElementCount) return;
    const data = await report.load("overview", "data/overview.js");
    host.append(el("h1", { class: "hidden" }, "Overview"), tiles(data),
      ...(data.stages.length ? [failures(data.stages), costs(data.stages)] : []), made(data));
  };
  return { show };
})();
