"use strict";
// uPlot in the page's colors. A chart is an image to a screen reader: its label says what it shows.

report.charts = (() => {
  const alive = new Set();
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const SERIES = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6"];

  const axes = (labels, extra = []) => labels.map((label, index) => ({
    label, labelSize: 18, labelFont: "12px system-ui", font: "11px system-ui", stroke: color("--muted"),
    grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1, size: 4 },
    size: index ? 52 : 30, gap: 4, ...extra[index],
  }));

  // `make` returns {options, data}; it is called again when the colors change.
  const add = (host, label, height, make) => {
    host.classList.add("chart");
    host.setAttribute("role", "img");
    host.setAttribute("aria-label", label);
    const chart = { host, plot: null };
    chart.draw = () => {
      chart.plot?.destroy();
      const { options, data } = make();
      chart.plot = new uPlot({ width: Math.max(host.clientWidth, 160), height, ...options }, data, host);
    };
    const observer = new ResizeObserver(() => {
      if (!host.isConnected) { observer.disconnect(); alive.delete(chart); chart.plot?.destroy(); return; }
      if (host.clientWidth) chart.plot?.setSize({ width: host.clientWidth, height });
    });
    observer.observe(host);
    alive.add(chart);
    requestAnimationFrame(() => host.isConnected && chart.draw());
    return chart;
  };

  // Counts between edges. `chosen`, if given, is called with (low, high) when a range is dragged.
  const histogram = (host, { label, unit, counts, edges, height = 120, chosen }) => add(host, label, height, () => {
    const middles = counts.map((_, index) => (edges[index] + edges[index + 1]) / 2);
    const width = edges[1] - edges[0];
    return {
      data: [middles, counts],
      options: {
        legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { x: Boolean(chosen), y: false, setScale: false } },
        scales: { x: { time: false, range: [edges[0], edges[edges.length - 1]] }, y: { range: [0, Math.max(1, ...counts) * 1.05] } },
        axes: axes([unit, null], [{ space: 60 }, { size: 40, space: 30, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6] }]),
        series: [{}, {
          stroke: color("--accent"), fill: color("--accent"), width: 0, points: { show: false },
          paths: uPlot.paths.bars({ size: [0.9, 100], gap: 0 }),
        }],
        hooks: {
          setSelect: [(plot) => {
            if (!chosen || plot.select.width < 2) return;
            const [low, high] = [plot.select.left, plot.select.left + plot.select.width].map((x) => plot.posToVal(x, "x"));
            plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
            chosen(Math.max(low, edges[0]), high, width);
          }],
        },
      },
    };
  });

  // Curves over steps: [{name, x, y}].
  const curves = (host, { label, series, height = 280, logarithmic = false }) => add(host, label, height, () => ({
    data: uPlot.join(series.map(({ x, y }) => [x, logarithmic ? y.map((v) => (v > 0 ? v : null)) : y])),
    options: {
      cursor: { drag: { x: true, y: false } },
      scales: { x: { time: false }, y: logarithmic ? { distr: 3 } : {} },
      axes: axes(["step", null], [{}, { values: (plot, ticks) => ticks.map((tick) => (tick === null ? "" : report.number(tick))) }]),
      series: [{ label: "step" }, ...series.map(({ name, dash }, index) => ({
        label: name, stroke: color(SERIES[index % SERIES.length]), width: 1.5, dash, spanGaps: true,
        points: { show: series[index].x.length < 40, size: 5 },
        value: (plot, value) => (value === null || value === undefined ? "–" : report.number(value)),
      }))],
    },
  }));

  const redraw = () => { for (const chart of alive) if (chart.host.isConnected) chart.draw(); };
  return { histogram, curves, redraw };
})();
