"use strict";
// Filters, sorts and draws what the page holds: columns of numbers that stand for the texts in `names`.
const { names, rows, machines, owners, links, flags } = JSON.parse(document.getElementById("data").textContent);
const form = document.getElementById("filters");
const COUNT = rows.value.length;
const PAGE = 200;
const BADGES = 3;
const TEXTS = ["chip", "torch", "model", "recipe", "phase"];
const number = new Intl.NumberFormat("en-US");
let shown = PAGE;
let sorting = { name: "", ascending: true };

const text = (column, row) => (column in names ? names[column][rows[column][row]] : String(rows[column][row]));
const naturally = new Intl.Collator("en", { numeric: true });
const digits = (value, count = 3) => (value >= 1000 ? number.format(Math.round(value)) : value.toPrecision(Math.max(count, 1 + Math.floor(Math.log10(value)))));
const haystack = names.machine.map((id, place) => `${id} ${machines[place]}`.toLowerCase());
const lower = {};
for (const column of ["chip", "torch", "model", "recipe", "phase", "file", "unit"]) {
  lower[column] = names[column].map((each) => each.toLowerCase());
}

function option(select, value, label) {
  const element = document.createElement("option");
  element.value = value;
  element.textContent = label;
  select.append(element);
}
for (const column of TEXTS) {
  const order = names[column].map((label, place) => [label, place]).sort((a, b) => naturally.compare(a[0], b[0]));
  for (const [label, place] of order) option(form.elements[column], String(place), label);
}
for (const batch of [...new Set(rows.batch)].sort((a, b) => a - b)) option(form.elements.batch, String(batch), String(batch));
flags.forEach((flag, place) => option(form.elements.flag, String(place), flag));

function matches() {
  const wanted = TEXTS.concat("batch")
    .filter((column) => form.elements[column].value !== "")
    .map((column) => [rows[column], Number(form.elements[column].value)]);
  const bit = form.elements.flag.value === "" ? 0 : 1 << Number(form.elements.flag.value);
  const words = form.elements.q.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (let row = 0; row < COUNT; row += 1) {
    if (!wanted.every(([column, value]) => column[row] === value)) continue;
    if (bit && !(rows.flags[row] & bit)) continue;
    if (words.length && !words.every((word) => mentions(row, word))) continue;
    found.push(row);
  }
  return found;
}
function mentions(row, word) {
  if (haystack[rows.machine[row]].includes(word)) return true;
  return Object.keys(lower).some((column) => lower[column][rows[column][row]].includes(word));
}

function cell(row, content, className, link) {
  const element = document.createElement("td");
  if (className) element.className = className;
  if (link) {
    const anchor = document.createElement("a");
    anchor.href = link;
    anchor.textContent = content;
    element.append(anchor);
  } else element.textContent = content;
  row.append(element);
  return element;
}
function badges(element, value) {
  flags.forEach((flag, place) => {
    if (!(value & (1 << place))) return;
    const badge = document.createElement("span");
    badge.className = `badge ${flag}`;
    badge.textContent = flag;
    element.append(badge);
  });
}
function line(row) {
  const element = document.createElement("tr");
  const seq = rows.seq[row] ? `, ${rows.seq[row]} tokens` : "";
  cell(element, `${text("model", row)}, batch ${rows.batch[row]}${seq}`);
  const phase = text("phase", row) === "train" ? "" : `${text("phase", row)}, `;
  cell(element, phase + text("recipe", row), "spare");
  cell(element, text("chip", row), "chip", links[rows.chip[row]]);
  cell(element, text("torch", row), "spare torch");
  const count = rows.high[row] - rows.low[row] < 0.02 * rows.value[row] ? 4 : 3;
  const figure = cell(element, `${digits(rows.value[row], count)} ${text("unit", row)}/s`, "figure");
  if (rows.low[row] < rows.high[row]) {
    const limits = document.createElement("span");
    limits.className = "limits";
    limits.textContent = ` (${digits(rows.low[row], count)} to ${digits(rows.high[row], count)})`;
    figure.append(limits);
  }
  cell(element, owners[rows.machine[row]] || "unknown", "spare", `machines/${text("machine", row)}.html`);
  badges(cell(element, ""), rows.flags[row]);
  return element;
}

function sorted(found) {
  const { name, ascending } = sorting;
  if (!name) return found;
  const key = (row) => (name === "work" ? `${text("model", row)} ${rows.batch[row]}` : name === "machine" ? owners[rows.machine[row]] : name in names ? text(name, row) : rows[name][row]);
  const keys = new Map(found.map((row) => [row, key(row)]));
  const order = (a, b) => (typeof a === "number" ? a - b : naturally.compare(a, b));
  return [...found].sort((a, b) => (ascending ? 1 : -1) * order(keys.get(a), keys.get(b)));
}

const median = (values) => {
  const order = [...values].sort((a, b) => a - b);
  const middle = order.length >> 1;
  return order.length % 2 ? order[middle] : (order[middle - 1] + order[middle]) / 2;
};
const work = (row) => ["model", "batch", "phase", "recipe", "seq", "unit"].map((column) => rows[column][row]).join("|");

function spread(found) {
  const bit = (flag) => 1 << flags.indexOf(flag);
  const measured = found.filter((row) => !(rows.flags[row] & (bit("published") | bit("outlier"))));
  const section = document.getElementById("spread");
  section.hidden = measured.length === 0;
  if (section.hidden) return;
  const counts = new Map();
  for (const row of measured) counts.set(work(row), (counts.get(work(row)) || 0) + 1);
  const chosen = [...counts].reduce((best, each) => (each[1] > best[1] ? each : best))[0];
  const kept = measured.filter((row) => work(row) === chosen);
  const byTorch = form.elements.chip.value !== "";
  const release = (row) => text("torch", row).split("+")[0].split(".").slice(0, 2).join(".");
  const groups = new Map();
  for (const row of kept) {
    const label = byTorch ? `torch ${release(row)}` : text("chip", row);
    if (!groups.has(label)) groups.set(label, { link: byTorch ? "" : links[rows.chip[row]], machines: new Map() });
    const machine = groups.get(label).machines;
    if (!machine.has(rows.machine[row])) machine.set(rows.machine[row], []);
    machine.get(rows.machine[row]).push(rows.value[row]);
  }
  const lines = [...groups].map(([label, group]) => {
    const values = [...group.machines.values()].map(median);
    return { label, link: group.link, count: values.length, value: median(values), low: Math.min(...values), high: Math.max(...values) };
  });
  lines.sort((a, b) => (byTorch ? naturally.compare(a.label, b.label) : b.value - a.value));
  const row = kept[0];
  const seq = rows.seq[row] ? `, ${rows.seq[row]} tokens` : "";
  document.getElementById("spread-head").textContent = byTorch
    ? `${text("chip", row)} by release of torch`
    : `${lines.length === 1 ? "1 chip" : `${lines.length} chips`} side by side`;
  document.getElementById("spread-note").textContent =
    `${text("model", row)}, batch ${rows.batch[row]}${seq}, ${text("phase", row)}, ${text("recipe", row)}: ${text("unit", row)} per second. ` +
    `Each machine counts once; outliers and published figures are left out.` +
    (counts.size > 1 ? ` This is the most measured of ${counts.size} kinds of work in the results below: choose a model, batch and recipe for another.` : "");
  document.getElementById("spread-by").textContent = byTorch ? "torch" : "chip";
  const scale = [Math.min(...lines.map((each) => each.low)) / 1.15, Math.max(...lines.map((each) => each.high)) * 1.15].map(Math.log);
  const place = (value) => `${(100 * (Math.log(value) - scale[0])) / (scale[1] - scale[0])}%`;
  section.querySelector("tbody").replaceChildren(...lines.slice(0, 60).map((each) => spreadLine(each, place)));
}
function spreadLine(each, place) {
  const element = document.createElement("tr");
  const head = cell(element, each.label, "", each.link);
  const header = document.createElement("th");
  header.scope = "row";
  header.append(...head.childNodes);
  head.replaceWith(header);
  cell(element, digits(each.value), "figure");
  cell(element, each.count > 1 ? `${digits(each.low)} to ${digits(each.high)}` : "one machine", "figure");
  cell(element, number.format(each.count), "right");
  const axis = document.createElement("div");
  axis.className = "axis";
  axis.setAttribute("aria-hidden", "true");
  const range = document.createElement("i");
  range.style.left = place(each.low);
  range.style.right = `calc(100% - ${place(each.high)})`;
  const dot = document.createElement("b");
  dot.style.left = place(each.value);
  axis.append(range, dot);
  cell(element, "", "track").append(axis);
  return element;
}

function render() {
  const found = matches();
  const order = sorted(found);
  document.getElementById("count").textContent = `${number.format(found.length)} of ${number.format(COUNT)} results`;
  document.querySelector("#results tbody").replaceChildren(...order.slice(0, shown).map(line));
  document.getElementById("more").hidden = shown >= found.length;
  spread(found);
  const state = new URLSearchParams();
  for (const element of form.elements) if (element.value) state.set(element.name, label(element));
  history.replaceState(null, "", `#${state}`);
}
const label = (element) => (element.tagName === "SELECT" ? element.selectedOptions[0].textContent : element.value);
function restore() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const element of form.elements) {
    const wanted = state.get(element.name) || "";
    if (element.tagName !== "SELECT") element.value = wanted;
    else element.value = wanted ? ([...element.options].find((each) => each.textContent === wanted) || { value: "" }).value : "";
  }
}

form.addEventListener("input", () => { shown = PAGE; render(); });
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("reset").addEventListener("click", () => { form.reset(); shown = PAGE; render(); });
document.getElementById("more").addEventListener("click", () => { shown += PAGE; render(); });
addEventListener("hashchange", () => { restore(); render(); });
for (const header of document.querySelectorAll("#results thead th")) {
  header.querySelector("button").addEventListener("click", () => {
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    for (const sibling of header.parentElement.children) sibling.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    sorting = { name: header.dataset.name, ascending };
    render();
  });
}
restore();
render();
