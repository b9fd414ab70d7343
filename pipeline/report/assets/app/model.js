"use strict";
// A model's page: its cloud in 3D, what is known about it, and its views with the layers behind.

report.model = (() => {
  const { el, count, number, label } = report;
  const KINDS = report.Cloud.KINDS;
  const settings = { outside: true, hidden: true, solid: false, color: "lit", axis: "", at: 0, flip: false, scale: 1 };
  const WORDS = {
    lit: "Lit color", albedo: "Albedo", depth: "Depth", normal: "Normals", surfaces: "Surfaces along the ray",
    interior: "Interior mask: unseen surfaces behind",
  };
  let cloud, stage, view = 0;

  // ---- 3D -------------------------------------------------------------------------------------------------

  const apply = (page) => cloud?.set({ ...settings, radius: settings.scale * 0.62 * (page.spacing || 0.03) });

  const toggle = (page, kind) => el("label", { class: "check inline" },
    el("input", { type: "checkbox", checked: settings[kind], onchange: (event) => { settings[kind] = event.target.checked; apply(page); } }),
    el("span", { class: `dot ${kind}`, "aria-hidden": "true" }), `${label(kind)} `, el("span", { class: "number" }, count(page.clouds[kind].points)));

  const choice = (text, options, name, page) => report.select(text, options, settings[name], (value) => { settings[name] = value; apply(page); });

  const slider = (text, name, low, high, page) => report.field(text, el("input", {
    type: "range", min: low, max: high, step: 0.01, value: settings[name],
    oninput: (event) => { settings[name] = Number(event.target.value); apply(page); },
  }), "slide");

  const tools = (page) => el("div", { class: "tools", role: "group", "aria-label": "3D view" },
    el("div", { class: "line" }, KINDS.map((kind) => toggle(page, kind)),
      choice("Color", [["lit", "Lit"], ["albedo", "Albedo"], ["normal", "Normal"], ["label", "Label"]], "color", page),
      slider("Point size", "scale", 0.3, 2.5, page)),
    el("div", { class: "line" },
      choice("Cut", [["", "No cut"], ["x", "Across X"], ["y", "Across Y"], ["z", "Across Z"]], "axis", page),
      slider("Position", "at", -1, 1, page),
      el("label", { class: "check inline" }, el("input", { type: "checkbox", checked: settings.flip, onchange: (event) => { settings.flip = event.target.checked; apply(page); } }), "Other side"),
      el("button", { type: "button", class: "quiet", onclick: () => cloud.reset() }, "Reset view")));

  const viewer = async (host, page) => {
    try {
      await report.script("assets/vendor/three.js");
      stage ??= el("div", { class: "stage" });
      cloud ??= new report.Cloud(stage);
    } catch {
      host.append(el("p", { class: "note" }, "This browser offers no WebGL: the cloud cannot be shown. The views below need none."));
      return;
    }
    host.append(stage, tools(page));
    cloud.show(page);
    apply(page);
    cloud.resize();
  };

  // ---- views ------------------------------------------------------------------------------------------------

  const figure = (source, text, note) => el("figure", {},
    el("img", { src: source, alt: `${text}${note ? `, ${note}` : ""}` }),
    el("figcaption", {}, text, note ? el("small", {}, note) : null));

  const pictures = (shown) => {
    const range = shown.far ? `${number(Number(shown.near.toPrecision(3)))} bright, ${number(Number(shown.far.toPrecision(3)))} dark` : "";
    return [
      el("div", { class: "figures" }, shown.pictures.map(([kind, source]) => figure(source, WORDS[kind] ?? kind, kind === "depth" ? range : ""))),
      shown.hidden.length ? el("h3", {}, "Behind the first surface") : null,
      el("div", { class: "figures layers" }, shown.hidden.map((layer, at) => el("figure", {},
        el("img", { src: layer.albedo, alt: `Layer ${at + 1}, albedo` }), el("img", { src: layer.depth, alt: `Layer ${at + 1}, depth` }),
        el("figcaption", {}, `Layer ${at + 1}`, el("small", {}, "albedo, depth"))))),
      shown.more ? el("p", { class: "muted" }, `The bundle has ${count(shown.more)} more layers of this view.`) : null,
    ].filter(Boolean);
  };

  const views = (page) => {
    const body = el("div", {});
    const buttons = page.views.map((one, at) => el("button", { type: "button", class: "pick", "aria-label": `View ${one.index}`, onclick: () => choose(at) },
      el("img", { src: one.pictures[0][1], alt: "" })));
    const choose = (at) => {
      view = at;
      buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === at)));
      body.replaceChildren(...pictures(page.views[at]));
    };
    choose(Math.min(view, page.views.length - 1));
    return el("section", { class: "panel views" }, el("h2", {}, "Views"),
      el("div", { class: "picks", role: "group", "aria-label": "Choose a view" }, buttons), body);
  };

  // ---- page ---------------------------------------------------------------------------------------------------

  const step = (uid, text, key) => el("a", { class: "button", href: uid === null ? null : report.modelLink(uid), "aria-disabled": uid === null ? "true" : null, title: `${text} (key ${key})`, "data-key": key }, text);

  const head = (uid, place, caption) => el("div", { class: "head" },
    el("a", { class: "button", href: report.gallery.address() }, "← Gallery"),
    el("h1", { tabindex: "-1" }, uid), caption ? el("span", { class: "muted caption" }, caption) : null,
    el("span", { class: "spring" }),
    place.position >= 0 ? el("span", { class: "muted" }, `${count(place.position + 1)} of ${count(place.total)}`) : null,
    step(place.before, "Previous", "["), step(place.after, "Next", "]"));

  const show = async (host, uid) => {
    const place = await report.gallery.around(uid);
    const missing = (text) => host.replaceChildren(head(uid, place), el("p", { class: "note" }, text));
    if (place.row < 0) return missing("This model has no row in the shards: it failed, is not fused yet, or is from another dataset.");
    if (!place.page) return missing("This report has no page of this model: write it with a larger --pages.");
    let page;
    try {
      page = await report.take(`model/${uid}`, `models/${place.folder}/${uid}.js`);
    } catch (error) {
      return missing(`${error.message}: run insideout report again.`);
    }
    const scene = el("section", { class: "panel scene" }, el("h2", { class: "hidden" }, "3D view"));
    const facts = [...page.about, ...await report.gallery.decided(place.row)];
    const about = facts.filter(([name]) => name !== "caption").map(([name, text]) => [label(name), text]);
    host.replaceChildren(head(uid, place, page.about.find(([name]) => name === "caption")?.[1]),
      el("div", { class: "split" }, scene,
        el("div", { class: "panel aside", role: "region", "aria-label": "Facts", tabindex: "0" },
          el("h2", {}, "About"), report.facts(about, "About this model"),
          el("h2", {}, "Quality"), report.facts(page.quality.map(([name, value]) => [label(name), typeof value === "boolean" ? (value ? "yes" : "no") : number(value)]), "Measures"))),
      page.views.length ? views(page) : "");
    return viewer(scene, page);
  };

  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    document.querySelector(`#model:not([hidden]) a[href][data-key="${CSS.escape(event.key)}"]`)?.click();
  });

  return { show };
})();
