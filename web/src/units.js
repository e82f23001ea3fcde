// The table of units.
import { by, el, keyed, say } from "./dom.js";
import { NA, bytes, limit, rate, seconds, stall } from "./format.js";

/** Rows before somebody asks for all. */
const FEW = 12;
const RANK = { critical: 4, high: 3, medium: 2, low: 1, observe: 0 };

const COLUMNS = [
  { name: "Unit", key: (row) => row.unit.unit, text: (row) => row.unit.unit },
  { name: "Priority", key: (row) => RANK[row.unit.priority], text: (row) => row.unit.priority },
  { name: "Memory", number: true, key: (row) => row.unit.memory_bytes, text: (row) => bytes(row.unit.memory_bytes) },
  { name: "Limit", number: true, wide: true, key: (row) => ceiling(row.unit), text: (row) => limit(row.unit.limits.memory_max) },
  { name: "Swap", number: true, key: (row) => row.unit.swap_bytes, text: (row) => bytes(row.unit.swap_bytes) },
  { name: "Swap-out", number: true, key: (row) => row.out, text: (row) => rate(row.out) },
  { name: "Total out", number: true, wide: true, key: (row) => row.unit.swapout_pages, text: (row) => paged(row, "swapout_pages") },
  { name: "Read back", number: true, wide: true, key: (row) => row.unit.swapin_pages, text: (row) => paged(row, "swapin_pages") },
  { name: "Stall", number: true, key: (row) => row.stall, text: (row) => stall(row.stall) },
  { name: "Total stall", number: true, wide: true, key: (row) => row.unit.stall_seconds, text: (row) => seconds(row.unit.stall_seconds) },
];

const view = { column: null, down: true, all: false, filter: "" };
let latest = null;
let choose = () => {};

function ceiling(unit) {
  const max = unit.limits.memory_max;
  return max === "max" ? Infinity : max;
}

function paged(row, field) {
  const pages = row.unit[field];
  return pages === null ? NA : bytes(pages * row.page);
}

/** Calls `chosen` with the name of a unit whose history somebody wants to see. */
export function begin(chosen) {
  choose = chosen;
  by("units-table").querySelector("thead tr").append(...COLUMNS.map(heading));
  by("filter").addEventListener("input", (event) => {
    view.filter = event.target.value.trim().toLowerCase();
    draw();
  });
  by("units-more").addEventListener("click", () => {
    view.all = !view.all;
    draw();
  });
}

function heading(column, index) {
  const button = el("button", { type: "button" }, column.name);
  button.addEventListener("click", () => {
    view.down = view.column === index ? !view.down : index !== 0;
    view.column = index;
    draw();
  });
  const mark = el("span", { class: "mark", "aria-hidden": "true" });
  button.append(mark);
  return el("th", { scope: "col", class: classes(column) }, button);
}

function classes(column) {
  return [column.number ? "number" : "", column.wide ? "wide" : ""].join(" ").trim();
}

export function show(facts, samples) {
  latest = { facts, samples };
  draw();
}

function draw() {
  if (!latest) return;
  const { facts, samples } = latest;
  const rows = facts.units.map((unit) => ({ unit, page: facts.page_bytes, ...samples.latest(unit.unit) }));
  const wanted = rows.filter(({ unit }) => `${unit.unit} ${unit.priority}`.toLowerCase().includes(view.filter));
  if (view.column !== null) wanted.sort(comparing(COLUMNS[view.column]));
  const shown = view.all ? wanted : wanted.slice(0, FEW);
  const table = by("units-table");
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    const direction = view.down ? "descending" : "ascending";
    cell.setAttribute("aria-sort", view.column === index ? direction : "none");
    say(cell.querySelector(".mark"), view.column === index ? (view.down ? " ▾" : " ▴") : "");
  });
  keyed(table.tBodies[0], shown, ({ unit }) => unit.unit, make, update);
  const more = facts.units_total - facts.units.length;
  const left = more > 0 ? `; ${more} more that matter less are not sent` : "";
  say(by("units-note"), `${shown.length} of ${wanted.length} units${left}.`);
  const button = by("units-more");
  button.hidden = wanted.length <= FEW;
  say(button, view.all ? "Show fewer" : `Show all ${wanted.length}`);
}

function comparing({ key }) {
  return (a, b) => {
    const [x, y] = [key(a), key(b)];
    // What is not known stands last, whichever way.
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "string" ? x.localeCompare(y) : x - y;
    return view.down ? -order : order;
  };
}

function make({ unit }) {
  const name = el("button", { type: "button", class: "link", title: `Show the history of ${unit.unit}` }, unit.unit);
  name.addEventListener("click", () => choose(unit.unit));
  const cells = COLUMNS.slice(2).map((column) => el("td", { class: classes(column) }));
  const badge = el("td", {}, el("span", { class: "badge" }));
  return el("tr", {}, el("th", { scope: "row" }, name), badge, ...cells);
}

function update(element, row) {
  const badge = element.cells[1].firstElementChild;
  say(badge, row.unit.priority);
  badge.className = `badge p-${row.unit.priority}`;
  element.classList.toggle("leased", Boolean(row.unit.leases?.length));
  COLUMNS.slice(2).forEach((column, index) => {
    const cell = element.cells[index + 2];
    const text = column.text(row);
    say(cell, text);
    cell.classList.toggle("na", text === NA);
  });
}
