"use strict";
(() => {
  const LIGHT = { up: ["#ffffff", "#c6dbef", "#6baed6", "#2171b5", "#08306b"], down: ["#ffffff", "#fcc5ae", "#e3705a", "#b2182b", "#67001f"] };
  const DARK = { up: ["#1b2631", "#1d4e79", "#3b8dc4", "#9ecae1", "#f0f8ff"], down: ["#1b2631", "#7a2f24", "#c8563f", "#f2a07f", "#fff0ea"] };
  const NAMES = { cov: "Covariance", corr: "Correlation", sd: "Posterior SD" };
  const MOST_PRINTED = 12;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const make = (name, parent, text, attributes = {}) => {
    const element = document.createElement(name);
    if (text !== null) element.textContent = text;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    parent.append(element);
    return element;
  };
  const shape = (name, parent, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    parent.append(element);
    return element;
  };
  const minus = (text) => text.replaceAll("-", "−");
  const number = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e7 || size < 1e-4) return minus(value.toExponential(2));
    return minus(value.toLocaleString("en", { maximumSignificantDigits: 4 }));
  };
  const fixed = (value) => minus(value.toFixed(3));
  const mix = (stops, share) => {
    const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
    const k = Math.min(Math.floor(place), stops.length - 2);
    const part = (colour, c) => parseInt(colour.slice(1 + 2 * c, 3 + 2 * c), 16);
    return [0, 1, 2].map((c) => Math.round(part(stops[k], c) + (place - k) * (part(stops[k + 1], c) - part(stops[k], c))));
  };
  const css = (rgb) => `rgb(${rgb.join(" ")})`;
  // Black or white, whichever has the greater contrast: at least 4.5 on every colour.
  const linear = (value) => (value <= 10 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const onIt = ([r, g, b]) => (0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) > 0.179 ? "#000" : "#fff");

  const start = (root) => {
    const data = JSON.parse(root.querySelector("script").textContent);
    const find = (name) => root.querySelector(`[data-${name}]`);
    const choice = (name) => root.querySelector(`[data-choice=${name}]`);
    const map = find("map"), panel = find("panel");
    let i = 0, j = 1, cells = [];

    const group = () => data.groups[choice("group").selectedIndex];
    const cluster = () => group().clusters[choice("cluster").selectedIndex];
    const size = () => cluster().rows.length;
    const fitIndex = () => choice("fit").selectedIndex;
    const place = (m, a, b) => { const r = Math.min(a, b), c = Math.max(a, b); return r * m - (r * (r - 1)) / 2 + c - r; };
    // Of one element under one fit: [V] at estimates; [mean, sd, low, high, corr, its low, its high, quantiles…] of draws.
    const element = (block, fit, m, a, b) => {
      const values = data.blocks[block][fit];
      if (data.fits[fit].draws) {
        const v = values[place(m, a, b)];
        return { cov: v[0], sd: v[1], low: v[2], high: v[3], corr: v[4], corrLow: v[5], corrHigh: v[6], quantiles: v.slice(7) };
      }
      const scale = Math.sqrt(values[place(m, a, a)] * values[place(m, b, b)]);
      return { cov: values[place(m, a, b)], corr: values[place(m, a, b)] / scale };
    };
    const rowName = (a) => cluster().rows[a] + (cluster().about[a] ? `, ${cluster().about[a]}` : "");

    const limits = (what) => {
      if (what === "corr") return null;
      let low = Infinity, high = -Infinity;
      for (const c of group().clusters) {
        const m = c.rows.length;
        for (let a = 0; a < m; a++) for (let b = a; b < m; b++) {
          const v = element(c.block, fitIndex(), m, a, b)[what];
          low = Math.min(low, v); high = Math.max(high, v);
        }
      }
      return [low, high];
    };
    // 0 is the colour of the page for covariances and correlations; SDs go from the least to the largest.
    const scaleOf = (what) => {
      const colours = dark.matches ? DARK : LIGHT;
      const ends = limits(what);
      if (what === "sd") {
        const [low, high] = ends;
        return { low, high, at: (v) => mix(colours.up, high > low ? 0.12 + 0.88 * (v - low) / (high - low) : 0.5) };
      }
      const negative = ends ? ends[0] < 0 : group().clusters.some((c) => c.rows.some((_, a) => c.rows.some((_, b) =>
        element(c.block, fitIndex(), c.rows.length, a, b).corr < 0)));
      const high = ends ? Math.max(Math.abs(ends[0]), Math.abs(ends[1])) || 1 : 1;
      return { low: negative ? -high : 0, high, at: (v) => mix(v < 0 ? colours.down : colours.up, Math.abs(v) / high) };
    };

    const paint = () => {
      const what = choice("what").value || "cov", m = size(), c = cluster(), scale = scaleOf(what);
      // The same decimals in every cell, three or four digits in all, as in the pictures of V.
      const decimals = what === "corr" ? 2 : Math.max(0, 2 - Math.floor(Math.log10(scale.high)));
      const short = decimals <= 4 && scale.high < 1e6;
      const text = (v) => minus(short ? v.toFixed(decimals) : v === 0 ? "0" : v.toExponential(1));
      map.replaceChildren();
      map.classList.toggle("many", m > MOST_PRINTED);
      map.style.setProperty("--m", m);
      const table = make("table", map, null, { role: "grid", "aria-label": `${NAMES[what]} of ${group().name} ${c.label}, ${data.fits[fitIndex()].name}` });
      const columns = make("colgroup", table, null);
      for (let b = 0; b <= m; b++) make("col", columns, null);
      const head = make("tr", make("thead", table, null), null, { role: "row" });
      make("td", head, "", { style: "cursor:default;height:auto;background:none" });
      c.rows.forEach((label, b) => make("th", head, label, { scope: "col", role: "columnheader", title: rowName(b) }));
      const body = make("tbody", table, null);
      cells = [];
      for (let a = 0; a < m; a++) {
        const row = make("tr", body, null, { role: "row" });
        make("th", row, c.rows[a], { scope: "row", role: "rowheader", title: rowName(a) });
        cells.push([]);
        for (let b = 0; b < m; b++) {
          const value = element(c.block, fitIndex(), m, a, b)[what], colour = scale.at(value);
          const said = what === "corr" ? fixed(value) : number(value);
          const cell = make("td", row, text(value), { role: "gridcell", tabindex: "-1", "aria-label": `${rowName(a)}; ${rowName(b)}: ${NAMES[what]} ${said}` });
          cell.style.background = css(colour);
          cell.style.color = onIt(colour);
          cell.dataset.place = `${a} ${b}`;
          cells[a].push(cell);
        }
      }
      const stops = Array.from({ length: 13 }, (_, k) => css(scale.at(scale.low + (k / 12) * (scale.high - scale.low))));
      find("bar").style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
      find("low").textContent = number(scale.low);
      find("high").textContent = number(scale.high);
      find("note").textContent = [c.note && `Of ${group().name} ${c.label}, ${c.note} are shown.`, group().note && `Clusters of ${group().name}: ${group().note}`].filter(Boolean).join(" ");
      go(Math.min(i, m - 1), Math.min(j, m - 1), false);
    };

    const go = (a, b, focus) => {
      cells[i]?.[j]?.setAttribute("tabindex", "-1");
      cells[i]?.[j]?.removeAttribute("aria-selected");
      i = a; j = b;
      const cell = cells[i][j];
      cell.setAttribute("tabindex", "0");
      cell.setAttribute("aria-selected", "true");
      if (focus) cell.focus();
      tell();
    };

    const tell = () => {
      const c = cluster(), m = size();
      const name = i === j ? `Variance of row ${rowName(i)}` : `Row ${rowName(i)} and row ${rowName(j)}`;
      panel.replaceChildren();
      make("h3", panel, name);
      const table = make("table", make("div", panel, null, { class: "cells-scroll", tabindex: "0", role: "group", "aria-label": "Values of this cell by fit" }), null);
      const draws = data.fits.some((fit) => fit.draws);
      const head = make("tr", make("thead", table, null), null);
      const titles = draws ? ["Fit", "V (mean)", "SD", `${data.prob} % interval`, "Correlation", "interval"] : ["Fit", "V", "Correlation"];
      titles.forEach((text) => make("th", head, text, { scope: "col" }));
      const body = make("tbody", table, null), sentences = [name + "."], all = [];
      data.fits.forEach((fit, f) => {
        const e = element(c.block, f, m, i, j), row = make("tr", body, null, f === fitIndex() ? { class: "shown" } : {});
        all.push(e);
        make("th", row, fit.name, { scope: "row" });
        const parts = [number(e.cov)];
        if (draws) parts.push(...(fit.draws ? [number(e.sd), `${number(e.low)} … ${number(e.high)}`] : ["", ""]));
        parts.push(fixed(e.corr));
        if (draws) parts.push(fit.draws && i !== j ? `${fixed(e.corrLow)} … ${fixed(e.corrHigh)}` : "");
        parts.forEach((text) => make("td", row, text));
        sentences.push(fit.draws
          ? `${fit.name}: mean ${number(e.cov)}, SD ${number(e.sd)}, ${data.prob} % interval ${number(e.low)} to ${number(e.high)}, correlation ${fixed(e.corr)}.`
          : `${fit.name}: V ${number(e.cov)}, correlation ${fixed(e.corr)}.`);
      });
      draw(all);
      find("said").textContent = sentences.join(" ");
    };

    // The density between two quantiles is the probability between them over their distance.
    const draw = (all) => {
      const curves = all.map((e, f) => ({ e, f })).filter(({ e }) => e.quantiles && e.sd > 0).map(({ e, f }) => {
        // Quantiles are kept to a hundredth of the SD: one so near 0 is 0, below which no variance lies.
        const value = (percent) => { const v = e.cov + (percent / 100) * e.sd; return Math.abs(v) < 0.006 * e.sd ? 0 : v; };
        const q = e.quantiles.map(value), points = [[q[0], 0]];
        for (let k = 1; k < q.length; k++) if (q[k] > q[k - 1])
          points.push([(q[k] + q[k - 1]) / 2, (data.quantiles[k] - data.quantiles[k - 1]) / (q[k] - q[k - 1])]);
        points.push([q[q.length - 1], 0]);
        return { e, f, points };
      });
      if (!curves.length) return;
      const W = 360, H = 120, base = 92;
      let low = Math.min(...curves.map((c) => c.points[0][0])), high = Math.max(...curves.map((c) => c.points[c.points.length - 1][0]));
      all.forEach((e) => { low = Math.min(low, e.cov); high = Math.max(high, e.cov); });
      const top = Math.max(...curves.flatMap((c) => c.points.map((p) => p[1])));
      const x = (v) => 8 + ((v - low) / (high - low || 1)) * (W - 16), y = (d) => base - (d / top) * (base - 8);
      const svg = shape("svg", panel, { viewBox: `0 0 ${W} ${H}`, "aria-hidden": "true" });
      curves.forEach(({ e, f, points }) => {
        const path = points.map((p) => `${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join(" L");
        shape("path", svg, { d: `M${path} Z`, fill: "var(--blue)", "fill-opacity": f === fitIndex() || curves.length === 1 ? 0.3 : 0.08, stroke: "var(--blue)", "stroke-width": 1.5, "stroke-dasharray": f === fitIndex() || curves.length === 1 ? "none" : "5 3" });
        if (f === fitIndex() || curves.length === 1) shape("path", svg, { d: `M${x(e.low)} ${base + 5} H${x(e.high)}`, stroke: "var(--blue)", "stroke-width": 4 });
      });
      all.forEach((e) => { if (!e.quantiles) shape("path", svg, { d: `M${x(e.cov)} 4 V${base}`, stroke: "var(--mark)", "stroke-width": 2, "stroke-dasharray": "6 3" }); });
      shape("path", svg, { d: `M8 ${base} H${W - 8}`, stroke: "var(--soft)" });
      [[low, "start"], [(low + high) / 2, "middle"], [high, "end"]].forEach(([v, anchor]) => {
        shape("text", svg, { x: x(v), y: H - 8, "text-anchor": anchor }).textContent = number(v);
      });
      const points = all.some((e) => !e.quantiles);
      make("p", panel, `Posterior density, drawn from quantiles; the bar is the ${data.prob} % interval${points ? ", dashed lines are estimates without draws" : ""}.`, { class: "cells-note" });
    };

    const fill = (select, labels, values = labels) => {
      const before = select.value;
      select.replaceChildren();
      labels.forEach((label, k) => make("option", select, label, { value: values[k] }));
      if (values.map(String).includes(before)) select.value = before;
    };
    const refill = () => {
      fill(choice("cluster"), group().clusters.map((c) => c.label), group().clusters.map((_, k) => k));
      const kinds = data.fits[fitIndex()].draws ? ["cov", "corr", "sd"] : ["cov", "corr"];
      fill(choice("what"), kinds.map((kind) => NAMES[kind]), kinds);
      paint();
    };
    fill(choice("group"), data.groups.map((g) => g.name), data.groups.map((_, k) => k));
    fill(choice("fit"), data.fits.map((fit) => fit.name), data.fits.map((_, k) => k));
    choice("fit").selectedIndex = Math.max(data.fits.findIndex((fit) => fit.draws), 0);
    choice("group").addEventListener("change", () => { choice("cluster").value = ""; i = 0; j = 1; refill(); });
    choice("fit").addEventListener("change", refill);
    choice("cluster").addEventListener("change", paint);
    choice("what").addEventListener("change", paint);
    dark.addEventListener("change", paint);

    const placeOf = (event) => event.target.closest("td[data-place]")?.dataset.place.split(" ").map(Number);
    map.addEventListener("pointerover", (event) => {
      const found = placeOf(event);
      if (found && event.pointerType === "mouse") go(...found, map.contains(document.activeElement));
    });
    map.addEventListener("click", (event) => { const found = placeOf(event); if (found) go(...found, true); });
    map.addEventListener("focusin", (event) => {
      const found = placeOf(event);
      if (found && (found[0] !== i || found[1] !== j)) go(...found, false);
    });
    map.addEventListener("keydown", (event) => {
      const m = size(), step = { ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1], ArrowRight: [i, j + 1],
        Home: event.ctrlKey ? [0, 0] : [i, 0], End: event.ctrlKey ? [m - 1, m - 1] : [i, m - 1] }[event.key];
      const page = { PageUp: -1, PageDown: 1 }[event.key];
      if (!step && !page) return;
      event.preventDefault();
      if (page) {
        const next = choice("cluster").selectedIndex + page;
        if (next < 0 || next >= group().clusters.length) return;
        choice("cluster").selectedIndex = next;
        paint();
        cells[i][j].focus();
        find("said").textContent = `${group().name} ${cluster().label}. ${find("said").textContent}`;
      } else if (step.every((k) => k >= 0 && k < m)) go(...step, true);
    });
    refill();
  };
  document.querySelectorAll("[data-cells]").forEach(start);
})();
