(() => {
"use strict";
const one = (query, root = document) => root.querySelector(query);
const all = (query, root = document) => [...root.querySelectorAll(query)];
const shown = (text) => (text === undefined || text === "" || text === "–" ? "–" : String(+text));
document.documentElement.classList.add("js");

/* copy */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
for (const button of all(".copy")) {
  button.addEventListener("click", async () => {
    await copy(one("code", button.parentElement).textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
function press(buttons, chosen) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
}

/* latents: the same paths as on paper, in another order */
function latents(chart) {
  const data = chart.dataset, words = data.words.split("|"), index = data.index.split(" ");
  const raw = Object.fromEntries(["kl", "information", "mismatch", "variance"].map((k) => [k, data[k].split(" ")]));
  const value = (key, i) => (raw[key][i] === "–" ? 0 : +raw[key][i]);
  const size = index.length, step = 1000 / size, gap = size <= 200 ? 0.14 * step : 0;
  const [upper, lower] = all("svg", chart), read = one("#latent-read"), names = one(".names", chart);
  const table = one("#latent-table tbody"), rows = new Map(all("tr", table).map((row) => [row.dataset.i, row]));
  let order = [], current = -1;

  function draw() {
    const paths = { told: "", moved: "", active: "", idle: "" };
    order.forEach((i, place) => {
      const left = place * step + gap, right = (place + 1) * step - gap;
      const low = (Math.max(value("information", i), 0) * 1000) / data.top;
      const high = low + (Math.max(value("mismatch", i), 0) * 1000) / data.top;
      paths.told += `M${left} 1000V${1000 - low}H${right}V1000z`;
      paths.moved += `M${left} ${1000 - low}V${1000 - high}H${right}V${1000 - low}z`;
      if (raw.variance[i] === "–") return;
      const y = 1000 - (1000 * Math.log(Math.max(value("variance", i), 1e-5) / 1e-5)) / Math.log(data.widest / 1e-5);
      paths[value("variance", i) >= 0.01 ? "active" : "idle"] += `M${(place + 0.5) * step} ${y}h0`;
    });
    one(".told", upper).setAttribute("d", paths.told);
    one(".moved", upper).setAttribute("d", paths.moved);
    one(".active", lower).setAttribute("d", paths.active);
    for (const path of all(".idle, .hole", lower)) path.setAttribute("d", paths.idle);
    if (names) names.replaceChildren(...order.map((i) => Object.assign(document.createElement("li"), { textContent: index[i] })));
    table.append(...order.map((i) => rows.get(index[i])).filter(Boolean));
  }
  function sort(key) {
    order = [...index.keys()];
    if (key !== "index") order.sort((a, b) => value(key, b) - value(key, a) || a - b);
    draw();
    show(-1);
  }
  function show(place) {
    current = place;
    for (const mark of all(".at", chart)) {
      mark.setAttribute("x", Math.max(place, 0) * step);
      mark.setAttribute("width", place < 0 ? 0 : Math.max(step, 1.5));
    }
    for (const row of all(".found", table)) row.classList.remove("found");
    if (place < 0) return;
    const i = order[place];
    rows.get(index[i])?.classList.add("found");
    read.textContent = `Latent ${index[i]}, ${words[i]}: KL ${shown(raw.kl[i])} = information ` +
      `${shown(raw.information[i])} + mismatch ${shown(raw.mismatch[i])} nats; variance of the means ${shown(raw.variance[i])}.`;
  }
  for (const svg of [upper, lower]) {
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      show(Math.min(Math.max(Math.floor(((event.clientX - box.left) / box.width) * size), 0), size - 1));
    });
  }
  upper.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: size - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(Math.min(Math.max(moves[event.key], 0), size - 1));
  });
  const buttons = all("[data-sort]");
  for (const button of buttons) {
    button.addEventListener("click", () => {
      press(buttons, button);
      one("#sorted-by").textContent = button.textContent;
      sort(button.dataset.sort);
    });
  }
  one("#find-latent").addEventListener("input", (event) => {
    const wanted = event.target.value.trim(), place = order.findIndex((i) => index[i] === wanted);
    show(place);
    if (wanted && place < 0) read.textContent = `There is no latent ${wanted}.`;
  });
  sort("information");
}

/* inputs: one selection for the map and the panel beside it */
function inputs(charts) {
  const field = one("#find-row"), read = one("#row-read");
  const labels = JSON.parse(one("#map-chart").dataset.labels);
  const panels = charts.map((chart) => {
    const points = all("circle[data-r]", chart).map((dot) => {
      const label = /(?:^| )l(\d+)/.exec(dot.getAttribute("class"));
      return { dot, row: +dot.dataset.r, x: +dot.getAttribute("cx"), y: +dot.getAttribute("cy"), label: label && +label[1] };
    });
    const svg = one("svg", chart);
    return { chart, svg, points, of: new Map(points.map((p) => [p.row, p])), ring: one(".ring", chart), tip: one(".tip", chart) };
  });
  const rows = [...new Set(panels.flatMap((panel) => panel.points.map((p) => p.row)))].sort((a, b) => a - b);
  let current = -1, only = null;

  function words(point) {
    const d = point.dot.dataset, said = [`Row ${point.row}`];
    if (point.label !== null) said.push(`label ${labels[point.label]}`);
    said.push(`information ${shown(d.i)} nats`, `KL ${shown(d.k)} nats`);
    if (d.e !== undefined) said.push(`ε ${shown(d.e)} nats`);
    return said;
  }
  function show(row, beside) {
    current = row;
    for (const panel of panels) {
      const point = panel.of.get(row);
      panel.ring.setAttribute("visibility", point ? "visible" : "hidden");
      panel.tip.hidden = !point || panel !== beside;
      if (!point) continue;
      panel.ring.setAttribute("cx", point.x);
      panel.ring.setAttribute("cy", point.y);
      const said = words(point);
      read.textContent = said.join(", ") + ".";
      if (panel !== beside) continue;
      const head = Object.assign(document.createElement("b"), { textContent: said[0] });
      panel.tip.replaceChildren(head, ...said.slice(1).flatMap((text) => [text, document.createElement("br")]));
      const scale = panel.svg.clientWidth / panel.svg.viewBox.baseVal.width || panel.svg.getBoundingClientRect().width / panel.svg.viewBox.baseVal.width;
      const left = point.x * scale, wide = panel.tip.offsetWidth, room = panel.svg.getBoundingClientRect().width;
      panel.tip.style.left = `${Math.max(left + 16 + wide > room ? left - 16 - wide : left + 16, 0)}px`;
      panel.tip.style.top = `${Math.max(point.y * scale - panel.tip.offsetHeight / 2, 0)}px`;
    }
  }
  function nearest(panel, event) {
    const box = panel.svg.getBoundingClientRect(), scale = panel.svg.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = null, least = (24 * scale) ** 2;
    for (const point of panel.points) {
      const far = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (far < least && (only === null || point.label === only)) [best, least] = [point, far];
    }
    return best;
  }
  for (const panel of panels) {
    for (const kind of ["pointermove", "pointerdown"]) {
      panel.svg.addEventListener(kind, (event) => {
        const point = nearest(panel, event);
        if (point) show(point.row, panel);
        else panel.tip.hidden = true;
      });
    }
    panel.svg.addEventListener("pointerleave", () => { panel.tip.hidden = true; });
    panel.svg.addEventListener("blur", () => { panel.tip.hidden = true; });
    panel.svg.addEventListener("keydown", (event) => {
      const place = rows.indexOf(current);
      const moves = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1, Home: 0, End: rows.length - 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      show(rows[Math.min(Math.max(moves[event.key], 0), rows.length - 1)], panel);
    });
  }
  field.addEventListener("input", () => {
    const text = field.value.trim(), row = /^\d+$/.test(text) ? +text : NaN;
    if (rows.includes(row)) return show(row, panels[0]);
    show(-1);
    const close = rows.reduce((best, r) => (Math.abs(r - row) < Math.abs(best - row) ? r : best), rows[0]);
    read.textContent = !text ? "" : Number.isNaN(row) ? "A row is a whole number." :
      `Row ${row} is not among the ${rows.length} inputs shown; the closest is ${close}.`;
  });
  const colours = all("[data-colour]"), names = all("[data-label]"), legend = one(".legend.by-label");
  for (const button of colours) {
    button.addEventListener("click", () => {
      press(colours, button);
      const label = button.dataset.colour === "label";
      for (const panel of panels) panel.svg.classList.toggle("by-label", label);
      legend.hidden = !label;
      one(".scale").parentElement.hidden = label;
      if (!label && only !== null) isolate(null);
    });
  }
  function isolate(label) {
    only = label;
    for (const button of names) button.setAttribute("aria-pressed", String(+button.dataset.label === only && only !== null));
    for (const panel of panels) for (const p of panel.points) p.dot.classList.toggle("dim", only !== null && p.label !== only);
  }
  for (const button of names) button.addEventListener("click", () => isolate(+button.dataset.label === only ? null : +button.dataset.label));
}

if (one("#latent-chart")) latents(one("#latent-chart"));
if (one("#map-chart")) inputs(all(".chart"));
})();
