// The charts of the last ten minutes, and the figures above them.
import { by, say } from "./dom.js";
import { Chart, line, zeroBased } from "./chart.js";
import { bytes, percent, rate, stall } from "./format.js";

/** Units in a chart: more lines cannot be told apart. */
const LINES = 6;

const share = (value) => `${Math.round(value * 100)} %`;
const pressure = (value) => `${value.toFixed(value > 0 && value < 10 ? 1 : 0)} %`;
const rates = (value) => `${bytes(value)}/s`;
const stalls = (value) => `${value.toFixed(value > 0 && value < 10 ? 1 : 0)} ms/s`;

const charts = {
  memory: new Chart(by("c-memory"), { text: share, range: () => [0, 1] }),
  psi: new Chart(by("c-psi"), { text: pressure, range: (plot, low, high) => zeroBased(plot, low, high, 5) }),
  out: new Chart(by("c-out"), { text: rates, binary: true, range: (plot, low, high) => zeroBased(plot, low, high, 4096) }),
  stall: new Chart(by("c-stall"), { text: stalls, range: (plot, low, high) => zeroBased(plot, low, high, 1) }),
};

export function tiles(facts, samples) {
  const { system } = facts;
  const situation = by("t-situation");
  say(situation, system.situation);
  situation.className = `word-${system.situation}`;
  say(by("t-situation-more"), system.swap_high ? "swap is high" : "");
  say(by("t-ram"), percent(system.ram_used));
  say(by("t-swap"), system.swap_used === null ? "no swap" : percent(system.swap_used));
  meter("m-ram", system.ram_used, system.situation !== "normal");
  meter("m-swap", system.swap_used ?? 0, system.swap_high);
  say(by("t-psi"), system.psi_some ? pressure(system.psi_some.avg10) : "n/a");
  say(by("t-psi-more"), system.psi_full ? `all tasks at once ${pressure(system.psi_full.avg10)}` : "");
  say(by("t-out"), rate(samples.columns.out.at(-1)));
  const critical = facts.units.map((unit) => unit.critical_pages_swapped).filter((pages) => pages !== null);
  const pages = critical.reduce((sum, value) => sum + value, 0);
  say(by("t-out-more"), critical.length ? `critical so far ${bytes(pages * facts.page_bytes)}` : "");
}

function meter(id, value, high) {
  const bar = by(id);
  bar.style.width = `${Math.min(100, value * 100).toFixed(1)}%`;
  bar.classList.toggle("high", high);
}

export function draw(samples) {
  const { times, columns } = samples;
  const last = (column) => column.at(-1);
  const memory = `RAM ${percent(last(columns.ram))}, swap ${percent(last(columns.swap))}`;
  say(by("c-memory-text"), memory);
  charts.memory.show(
    [line("RAM", 0, percent), line("swap", 1, percent)],
    [times, columns.ram, columns.swap],
    `RAM and swap over the last ten minutes; now ${memory}`,
  );
  const psi = (value) => (value === null || value === undefined ? "n/a" : pressure(value));
  const waiting = `some tasks ${psi(last(columns.some))}, all tasks ${psi(last(columns.full))}`;
  say(by("c-psi-text"), waiting);
  charts.psi.show(
    [line("some tasks", 0, pressure), line("all tasks", 1, pressure)],
    [times, columns.some, columns.full],
    `Time stalled on memory over the last ten minutes; now ${waiting}`,
  );
  units(samples, "out", rates, rate, "Swap-out by unit");
  units(samples, "stall", stalls, stall, "Stall in reclaim by unit");
}

function units(samples, what, text, now, title) {
  const names = samples.top(what, LINES);
  // In the order of names: a line keeps its colour while the same units are shown.
  const sorted = [...names].sort();
  const most = names[0] && `most: ${names[0]}, now ${now(samples.latest(names[0])[what])}`;
  const summary = most ?? "none in this time";
  say(by(`c-${what}-text`), summary);
  charts[what].show(
    sorted.map((name, index) => line(name, index, text)),
    [samples.times, ...sorted.map((name) => samples.units.get(name)[what])],
    `${title} over the last ten minutes; ${summary}`,
  );
}
