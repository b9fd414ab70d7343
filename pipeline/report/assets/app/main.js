"use strict";
// Which page is shown, and in which colors.

(() => {
  const host = (name) => document.getElementById(name);
  const PAGES = ["overview", "gallery", "model", "curation", "training"];

  const parse = () => {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
    const [page, ...rest] = path.split("/");
    return { page: PAGES.includes(page) ? page : "overview", rest: decodeURIComponent(rest.join("/")), query: new URLSearchParams(query) };
  };

  let before;
  const route = async () => {
    const { page, rest, query } = parse();
    for (const name of PAGES) host(name).hidden = name !== page;
    const shown = page === "model" ? "gallery" : page;
    for (const link of host("tabs").children) {
      if (link.textContent.toLowerCase() === shown) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    document.title = `${page === "model" ? rest : page.charAt(0).toUpperCase() + page.slice(1)} · InsideOut report`;
    try {
      await report[page].show(host(page), page === "model" ? rest : query);
    } catch (error) {
      host(page).replaceChildren(report.el("p", { class: "note" }, `This page cannot be shown: ${error.message}.`));
      throw error;
    }
    if (before && before !== `${page}/${rest}`) (host(page).querySelector("h1") ?? host("main")).focus?.({ preventScroll: page === "gallery" });
    if (page !== "gallery" && before !== `${page}/${rest}`) host("main").scrollTop = 0;
    before = `${page}/${rest}`;
  };

  // ---- light and dark -------------------------------------------------------------------------------------

  const system = matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => { try { return localStorage.getItem("insideout-theme"); } catch { return null; } };
  const theme = (name) => {
    document.documentElement.dataset.theme = name;
    host("theme").textContent = name === "dark" ? "Light" : "Dark";
    host("theme").setAttribute("aria-label", `Use ${name === "dark" ? "light" : "dark"} colors`);
    report.charts.redraw();
  };
  host("theme").addEventListener("click", () => {
    const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("insideout-theme", name); } catch { /* some browsers keep nothing for file:// */ }
    theme(name);
  });
  system.addEventListener("change", () => { if (!remembered()) theme(system.matches ? "dark" : "light"); });
  theme(remembered() ?? (system.matches ? "dark" : "light"));

  // ---- start ------------------------------------------------------------------------------------------------

  window.addEventListener("hashchange", route);
  report.load("overview", "data/overview.js").then((data) => { host("dataset").textContent = data.name; });
  route();
})();
