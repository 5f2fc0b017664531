// Line charts from JSON, as SVG. A figure asks for one with
//   <div class="plot" data-src="../data/file.json" data-chart="name">
// and keeps a link to the numbers, which is what readers without scripts see.

const NS = "http://www.w3.org/2000/svg";

function el(name, attributes, text) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// Each chart turns its file into series with an x axis, a left and maybe a right y axis.
const charts = {
  hysteresis: (data) => {
    const line = (rows, key) => rows.map((row) => [row.orientation_width, row[key]]);
    return {
      x: { label: "width of the zone of orientation (body lengths)", min: 0, max: 6, step: 1 },
      left: { label: "order", min: 0, max: 1, step: 0.25 },
      series: [
        { name: "rotation, zone widening", style: "b", points: line(data.widening, "rotation") },
        { name: "polarisation, zone widening", style: "a", points: line(data.widening, "polarisation") },
        { name: "rotation, zone narrowing", style: "b dash", points: line(data.narrowing, "rotation") },
        { name: "polarisation, zone narrowing", style: "a dash", points: line(data.narrowing, "polarisation") },
      ],
    };
  },
  soundings: (data) => ({
    x: { label: "week of the year", min: 0, max: 52, step: 13 },
    left: { label: "herring per 1000 m³", min: 0, max: 50, step: 10 },
    right: { label: "°C at 20 m", min: 0, max: 20, step: 4 },
    series: [
      { name: "herring per 1000 m³", style: "a", points: data.weeks.map((w) => [w.week, w.density]) },
      { name: "temperature at 20 m, °C (right)", style: "b dash", axis: "right", points: data.weeks.map((w) => [w.week, w.temperature]) },
    ],
  }),
};

function draw(box, chart, title) {
  const narrow = box.clientWidth < 480;
  const width = narrow ? 420 : 760, height = narrow ? 300 : 340;
  const pad = { left: 44, right: chart.right ? 44 : 14, top: 14, bottom: 46 };
  const svg = el("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  const x = (v) => pad.left + ((v - chart.x.min) / (chart.x.max - chart.x.min)) * (width - pad.left - pad.right);
  const y = (v, axis) => height - pad.bottom - ((v - axis.min) / (axis.max - axis.min)) * (height - pad.top - pad.bottom);

  for (let v = chart.left.min; v <= chart.left.max + 1e-9; v += chart.left.step) {
    svg.append(el("line", { class: "grid", x1: pad.left, x2: width - pad.right, y1: y(v, chart.left), y2: y(v, chart.left) }));
    svg.append(el("text", { x: pad.left - 8, y: y(v, chart.left) + 4, "text-anchor": "end" }, String(v)));
  }
  if (chart.right) {
    for (let v = chart.right.min; v <= chart.right.max; v += chart.right.step) {
      svg.append(el("text", { x: width - pad.right + 8, y: y(v, chart.right) + 4 }, String(v)));
    }
  }
  for (let v = chart.x.min; v <= chart.x.max; v += chart.x.step) {
    svg.append(el("text", { x: x(v), y: height - pad.bottom + 20, "text-anchor": "middle" }, String(v)));
  }
  svg.append(el("text", { x: (pad.left + width - pad.right) / 2, y: height - 6, "text-anchor": "middle" }, chart.x.label));

  const key = document.createElement("ul");
  key.className = "key";
  for (const s of chart.series) {
    const axis = chart[s.axis ?? "left"];
    const d = s.points.map(([px, py], i) => `${i ? "L" : "M"}${x(px).toFixed(1)} ${y(py, axis).toFixed(1)}`).join("");
    svg.append(el("path", { class: s.style, d }));
    const item = document.createElement("li");
    const mark = el("svg", { viewBox: "0 0 36 10", "aria-hidden": "true" });
    mark.append(el("path", { class: s.style, d: "M2 5H34" }));
    item.append(mark, s.name);
    key.append(item);
  }
  box.replaceChildren(key, svg);
}

for (const box of document.querySelectorAll(".plot[data-src]")) {
  try {
    const answer = await fetch(new URL(box.dataset.src, document.baseURI));
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    const data = await answer.json();
    const render = () => draw(box, charts[box.dataset.chart](data), data.title);
    let seen = 0;
    new ResizeObserver(() => {
      // Only a change of width matters; drawing changes the height itself.
      if (box.clientWidth === seen) return;
      seen = box.clientWidth;
      render();
    }).observe(box);
  } catch (error) {
    const note = document.createElement("p");
    note.className = "small";
    note.textContent = `The numbers for this chart could not be loaded (${error.message}).`;
    box.append(note);
  }
}
