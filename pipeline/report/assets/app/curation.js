"use strict";
// The curation: what each cluster shows, and what was decided on its models.

report.curation = (() => {
  const { el, count, number } = report;

  const percent = (share) => `${number(Number((100 * share).toPrecision(3)))} %`;
  const pairs = (found) => found.map(([name, models]) => `${count(models)} ${name}`).join(", ");
  const gallery = (key, value, text) => el("a", { href: `#/gallery?${new URLSearchParams([[`is:${key}`, value]])}` }, text);

  const cluster = (one) => el("section", { class: "panel cluster" },
    el("div", { class: "line" },
      el("h2", {}, `Cluster ${one.number}`), el("span", { class: "muted" }, one.words), el("span", { class: "spring" }),
      gallery("cluster", String(one.number), `${count(one.models)} in the gallery`)),
    el("p", { class: "muted" }, [`${percent(one.share)} of what training samples`, pairs(one.buckets) && `buckets: ${pairs(one.buckets)}`,
      pairs(one.left) && `left out: ${pairs(one.left)}`].filter(Boolean).join("; ")),
    one.sheet ? el("div", { class: "sheet" }, el("img", { src: one.sheet, loading: "lazy", alt: `Models of cluster ${one.number}, from its center to its border: ${one.words}` })) : null);

  const show = async (host) => {
    if (host.childElementCount) return;
    const { clusters, all } = await report.load("curation", "data/curation.js");
    if (!all.models) return host.append(el("h1", { class: "hidden" }, "Curation"), el("p", { class: "note" }, "Not curated yet: run insideout curate, then this report again."));
    host.append(
      el("div", { class: "head" }, el("h1", {}, "Curation"), el("span", { class: "muted" },
        `${count(all.kept)} of ${count(all.models)} models kept, by bucket: ${pairs(all.buckets)}.`)),
      el("p", {}, all.left.length ? "Left out: " : "", all.left.map(([rule, models], at) => [at ? ", " : "", gallery("decision", `left out: ${rule}`, `${count(models)} ${rule}`)]),
        all.left.length ? ". " : "", "Edit curation/rules.yaml in the dataset, and run insideout curate again."),
      ...clusters.map(cluster));
  };
  return { show };
})();
