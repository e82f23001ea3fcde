// Stored history of the host or a unit, and what is foretold from it.
import { by, el, say } from "./dom.js";
import { Chart, bars, colour, line, zeroBased } from "./chart.js";
import { bytes, dateAndClock, seconds } from "./format.js";
import { forecasts, words } from "./lists.js";

const HOST = "(host)";
const RANGES = [
  ["1 h", 3600],
  ["6 h", 6 * 3600],
  ["24 h", 24 * 3600],
  ["7 d", 7 * 24 * 3600],
  ["30 d", 30 * 24 * 3600],
];
/** How much of the range is shown ahead, at most. */
const AHEAD = 0.5;
const REFRESH = 60_000;

const wanted = { unit: HOST, range: 6 * 3600 };
let spans = [];
let asked = 0;

const memory = new Chart(by("c-past"), {
  text: bytes,
  binary: true,
  range: (plot, low, high) => zeroBased(plot, low, high, 1 << 20),
  hooks: { drawClear: [shadeAlarms] },
});
const swapping = new Chart(by("c-past-out"), {
  text: bytes,
  binary: true,
  right: (value) => (value === 0 ? "0 s" : seconds(value)),
  range: (plot, low, high) => zeroBased(plot, low, high, 4096),
  hooks: { drawClear: [shadeAlarms] },
});

export function begin() {
  by("past-range").append(
    ...RANGES.map(([label, length]) => {
      const input = el("input", { type: "radio", name: "range", value: String(length), checked: length === wanted.range });
      input.addEventListener("change", () => {
        wanted.range = length;
        load();
      });
      return el("label", {}, input, el("span", {}, label));
    }),
  );
  by("past-unit").addEventListener("change", (event) => {
    wanted.unit = event.target.value;
    load();
  });
  setInterval(() => {
    if (!document.hidden) refresh();
  }, REFRESH);
}

export function refresh() {
  load();
  loadForecasts();
}

/** Shows the history of `unit`. */
export function choose(unit) {
  offer([unit]);
  by("past-unit").value = unit;
  wanted.unit = unit;
  load();
  by("past").scrollIntoView({ block: "start" });
  by("past-unit").focus({ preventScroll: true });
}

/** Units that can be chosen; those that were stay. */
export function offer(names) {
  const select = by("past-unit");
  const known = new Set([...select.options].map((option) => option.value));
  const fresh = names.filter((name) => !known.has(name)).sort();
  select.append(...fresh.map((name) => el("option", { value: name }, name)));
}

async function get(path) {
  const response = await fetch(path, { cache: "no-store" });
  const document = await response.json();
  if (!response.ok) throw new Error(`${document.problem}: ${document.remedy}`);
  return document;
}

async function loadForecasts() {
  try {
    forecasts(await get("/api/forecast"));
  } catch (error) {
    forecasts(null, `n/a: ${error.message}`);
  }
}

async function load() {
  const mine = ++asked;
  const to = Math.floor((Date.now() + clockAhead) / 1000) + 1;
  const query = new URLSearchParams({ unit: wanted.unit, from: to - wanted.range, to });
  try {
    const past = await get(`/api/history?${query}`);
    if (mine === asked) show(past);
  } catch (error) {
    if (mine === asked) say(by("past-text"), `n/a: ${error.message}`);
  }
}

function show(past) {
  spans = alarmSpans(past);
  const future = ahead(past);
  const times = [...past.at, ...future.times];
  const then = (values) => [...values, ...future.times.map(() => null)];
  const before = past.at.map(() => null);
  const columns = [then(past.memory_bytes), then(past.memory_peak_bytes), then(past.memory_limit_bytes), then(past.swap_bytes)];
  const lines = [line("memory", 0, bytes), line("peak", 2, bytes), line("limit", 4, bytes), line("swap", 1, bytes)];
  let bands = [];
  if (future.times.length) {
    const faint = { width: 1, dash: [2, 3], border: "dotted" };
    lines.push(line("full at the earliest", 3, bytes, faint), line("expected", 3, bytes, { dash: [], border: "solid" }), line("at the latest", 3, bytes, faint));
    // The lines begin where memory stands now.
    for (const ends of future.lines) columns.push([...before.slice(1), ...(before.length ? [future.start] : []), ...ends]);
    bands = [{ series: [5, 7], fill: () => colour("band") }];
  }
  const summary = inWords(past);
  say(by("past-text"), summary);
  memory.names = "";
  memory.show(lines, [times, ...columns], `Memory and swap: ${summary}`, bands);
  const page = latestPage;
  swapping.show(
    [
      line("swapped out", 1, bytes, { paths: bars, fill: () => colour("bar"), width: 1, dash: [], border: "solid" }),
      line("stalled", 0, seconds, { scale: "right" }),
    ],
    // As far ahead as the chart above, so that what stands below one another is of one time.
    [times, then(past.swapped_out_pages.map((pages) => pages * page)), then(past.stalled_us.map((time) => time / 1e6))],
    `Swap-out and stall: ${summary}`,
  );
}

let latestPage = 4096;
/** The agent's time minus the browser's, milliseconds. */
let clockAhead = 0;

/** What the agent says about itself. */
export function learn(facts) {
  latestPage = facts.page_bytes;
  clockAhead = facts.at * 1000 - Date.now();
}

function inWords(past) {
  const who = past.unit === HOST ? "the host" : past.unit;
  if (!past.at.length) return `Nothing is stored of ${who} in this time.`;
  const raised = past.alarms.filter((alarm) => alarm.raised).length;
  const out = past.swapped_out_pages.reduce((sum, pages) => sum + pages, 0) * latestPage;
  const peak = Math.max(...past.memory_peak_bytes);
  const parts = [
    `${who} since ${dateAndClock(past.at[0] * 1000)}`,
    `memory at most ${bytes(peak)}`,
    `${bytes(out)} swapped out`,
    raised === 1 ? "1 alarm" : `${raised} alarms`,
    past.forecast ? `forecast: ${words(past.forecast)}` : "no limit, hence no forecast",
  ];
  return `${parts.join(", ")}.`;
}

/** The lines of the forecast, to where the limit is reached or the chart ends. */
function ahead(past) {
  const none = { times: [], lines: [], start: null };
  const { forecast } = past;
  const last = past.at.at(-1);
  if (forecast?.outcome !== "exhausts" || last === undefined) return none;
  const horizon = (past.to - past.from) * AHEAD;
  const ends = [forecast.earliest_seconds, forecast.expected_seconds, forecast.latest_seconds];
  const steps = [...new Set([...ends.filter((end) => end > 0 && end < horizon), Math.min(horizon, ends[2] * 1.05 + 60)])].sort((a, b) => a - b);
  const start = past.memory_bytes.at(-1);
  const rise = forecast.limit_bytes - start;
  const lines = ends.map((end) => steps.map((step) => start + rise * Math.min(1, end > 0 ? step / end : 1)));
  return { times: steps.map((step) => last + step), lines, start };
}

function alarmSpans(past) {
  const open = new Map();
  const found = [];
  for (const { at, unit, raised } of past.alarms) {
    if (raised) open.set(unit, at);
    else if (open.has(unit)) {
      found.push([open.get(unit), at]);
      open.delete(unit);
    } else found.push([past.from, at]);
  }
  for (const at of open.values()) found.push([at, past.to]);
  return found;
}

function shadeAlarms(plot) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = colour("shade");
  for (const [from, to] of spans) {
    const left = Math.max(bbox.left, plot.valToPos(from, "x", true));
    const right = Math.min(bbox.left + bbox.width, plot.valToPos(to, "x", true));
    if (right >= left) ctx.fillRect(left, bbox.top, Math.max(2, right - left), bbox.height);
  }
  ctx.restore();
}
