"use strict";
const CONFIG = {responsive: true, displaylogo: false, displayModeBar: "hover",
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"]};
const MARGIN = {l: 64, r: 12, t: 30, b: 48}, PLOT = 290, ROW = 20;
const SHARED = {
  paper_bgcolor: "#fff", plot_bgcolor: "#fff", hovermode: "closest",
  font: {family: "system-ui, sans-serif", size: 12, color: "#222"},
};
const drawn = new Set();

// Before it is drawn a figure has its size, so that links lead to where they should.
function size(figure) {
  const views = JSON.parse(figure.querySelector("script").textContent);
  const view = views[figure.querySelector("select").value];
  const names = view.data.filter((one) => one.showlegend !== false).map((one) => one.name);
  const canvas = figure.querySelector(".canvas");
  // The names stand below in columns as wide as the longest, and the figure grows by their lines.
  const entrywidth = 8 + 6 * Math.max(...names.map((name) => name.length));
  const width = canvas.clientWidth - MARGIN.r;
  const columns = Math.max(1, Math.floor(width / (entrywidth + 40)));
  const legend = names.length > 1 ? ROW * Math.ceil(names.length / columns) + 16 : 0;
  const height = PLOT + MARGIN.t + MARGIN.b + legend;
  canvas.style.height = height + "px";
  return {view, canvas, several: names.length > 1, entrywidth, width, legend, height};
}

function draw(figure) {
  const {view, canvas, several, entrywidth, width, legend, height} = size(figure);
  const layout = {...SHARED, ...structuredClone(view.layout), height, showlegend: several,
    margin: {...MARGIN, b: MARGIN.b + legend, autoexpand: false},
    legend: {orientation: "h", x: -MARGIN.l / (width - MARGIN.l), y: -MARGIN.b / PLOT, yanchor: "top",
      entrywidth, maxheight: legend + ROW, tracegroupgap: 0, font: {size: 11}}};
  Plotly.react(canvas, structuredClone(view.data), layout, CONFIG);
  drawn.add(figure);
}

const figures = [...document.querySelectorAll("figure.plot")];
const near = new IntersectionObserver((entries) => {
  for (const entry of entries)
    if (entry.isIntersecting) { draw(entry.target); near.unobserve(entry.target); }
}, {rootMargin: "600px"});
for (const figure of figures) {
  size(figure);
  near.observe(figure);
  figure.querySelector("select").addEventListener("change", () => draw(figure));
}
// On paper every figure is wanted, in the width of the paper.
window.addEventListener("beforeprint", () => figures.forEach((figure) => {
  if (!drawn.has(figure)) draw(figure);
  Plotly.relayout(figure.querySelector(".canvas"), {width: 640});
}));
window.addEventListener("afterprint", () => drawn.forEach(draw));

// A narrow screen begins with the page, not with two screens of contents.
if (window.innerWidth < 1100) document.querySelector("nav details").open = false;

// The ledger: by verdict and by words.
const search = document.querySelector("#search");
function filter() {
  const kept = new Set([...document.querySelectorAll("#verdicts input:checked")].map((x) => x.value));
  const words = search.value.toLowerCase().split(/\s+/);
  let count = 0;
  for (const claim of document.querySelectorAll(".claim")) {
    const text = claim.textContent.toLowerCase();
    const shown = kept.has(claim.dataset.verdict) && words.every((word) => text.includes(word));
    claim.hidden = !shown;
    count += shown;
  }
  document.querySelector("#shown").textContent = count + " shown";
}
document.querySelectorAll("#verdicts input").forEach((box) => box.addEventListener("change", filter));
search.addEventListener("input", filter);
filter();

// Tables with the class "sortable": by a column, numbers as numbers.
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    let sign = 1;
    button.addEventListener("click", () => {
      const body = table.tBodies[0];
      const key = (row) => row.cells[column].textContent;
      const order = (a, b) => {
        const x = parseFloat(key(a)), y = parseFloat(key(b));
        if (Number.isNaN(x) || Number.isNaN(y)) return key(a).localeCompare(key(b));
        return x - y;
      };
      [...body.rows].sort((a, b) => sign * order(a, b)).forEach((row) => body.append(row));
      head.ariaSort = sign > 0 ? "ascending" : "descending";
      sign = -sign;
    });
  });
}
