// Alarms, leases, blame, regions and forecasts.
import { by, el, keyed, say } from "./dom.js";
import { bytes, clock, dateAndClock, limit, span } from "./format.js";

export function alarms(facts) {
  const list = by("alarm-list");
  const { alarms: on, alarms_total: total } = facts;
  by("alarms").classList.toggle("on", total > 0);
  const items = on.length ? on : [{ id: "", quiet: true }];
  keyed(list, items, (alarm) => alarm.id, makeAlarm, updateAlarm);
  list.querySelector("p.quiet:not([data-own])")?.remove();
  announce(on);
  say(by("alarms-title"), total > 0 ? `Alarms (${total})` : "Alarms");
  document.title = total > 0 ? `(${total}) memmon` : "memmon";
}

let announced = "";

/** Reads out which alarms there are when these change; not their counts, which change each second. */
function announce(alarms) {
  const ids = alarms.map(({ id }) => id).join(" ");
  if (ids === announced) return;
  const text = alarms.map(({ severity, unit }) => `${severity} alarm: pages of ${unit} go to swap.`).join(" ");
  say(by("alarm-news"), text || "No alarm any more.");
  announced = ids;
}

function makeAlarm(alarm) {
  if (alarm.quiet) {
    return el("p", { class: "quiet", "data-own": "" }, "No alarm: no page of a critical unit is going to swap.");
  }
  const more = el("p", { class: "muted" });
  return el(
    "article",
    { class: `alarm ${alarm.severity}` },
    el("p", {}, el("strong", {}, alarm.severity), " ", el("b", {}, alarm.unit)),
    el("p", { class: "reason" }),
    more,
  );
}

function updateAlarm(element, alarm) {
  if (alarm.quiet) return;
  say(element.querySelector(".reason"), alarm.reason);
  const region = alarm.region ? `, region ${alarm.region}` : "";
  say(element.lastElementChild, `since ${clock(alarm.since)}, ${alarm.pages.toLocaleString("en")} pages${region}`);
}

export function leases(facts) {
  const list = by("lease-list");
  const all = facts.units.flatMap(({ unit, leases: held }) => (held ?? []).map((lease) => ({ unit, ...lease })));
  const unknown = facts.units.some((unit) => unit.leases === null);
  const items = all.length ? all : [{ none: unknown ? "n/a: the leases cannot be read." : "None: every limit is as it was." }];
  const key = (lease) => lease.none ?? `${lease.unit} ${lease.property} ${lease.since}`;
  keyed(list, items, key, makeLease, updateLease);
}

function makeLease(lease) {
  if (lease.none) return el("p", {}, lease.none);
  return el("div", { class: "lease" }, el("p", {}, el("b", {}, lease.unit), " ", el("code", {}, lease.property)), el("p"), el("p", { class: "muted" }));
}

function updateLease(element, lease) {
  if (lease.none) return;
  const [, change, why] = element.children;
  say(change, `${limit(lease.old)} → ${limit(lease.new)}`);
  const until = lease.deadline ? `; ends ${clock(lease.deadline)} if all stays quiet` : "";
  say(why, `since ${clock(lease.since)}: ${lease.reason}${until}`);
}

export function blame(facts) {
  const body = by("blame-table").tBodies[0];
  const most = facts.blame[0]?.pages ?? 1;
  const items = facts.blame.slice(0, 15);
  const rows = items.length ? items : [{ victim: null }];
  const key = ({ victim, reclaimer, kind }) => `${victim}\n${reclaimer}\n${kind}`;
  keyed(body, rows, key, makeBlame, (row, pair) => {
    if (pair.victim === null) return;
    const [amount] = row.cells[2].children;
    say(amount, bytes(pair.pages * facts.page_bytes));
    row.cells[2].lastElementChild.firstElementChild.style.width = `${((pair.pages / most) * 100).toFixed(1)}%`;
  });
}

function makeBlame({ victim, reclaimer, kind }) {
  if (victim === null) return el("tr", {}, el("td", { colSpan: 3 }, "Nothing has gone to swap since the agent started."));
  const who = reclaimer ?? (kind === "kswapd" ? "kswapd" : "unknown");
  const how = who === kind ? null : el("span", { class: "muted" }, ` ${kind}`);
  const bar = el("span", { class: "meter", "aria-hidden": "true" }, el("i"));
  return el("tr", {}, el("th", { scope: "row" }, victim), el("td", {}, who, how), el("td", { class: "number" }, el("span"), bar));
}

export function regions(facts) {
  by("regions").hidden = facts.regions.length === 0;
  const body = by("regions-table").tBodies[0];
  const make = ({ unit, label }) =>
    el("tr", {}, el("th", { scope: "row" }, unit), el("td", {}, label), el("td", { class: "number" }), el("td", { class: "number" }));
  keyed(body, facts.regions, ({ unit, label }) => `${unit}\n${label}`, make, (row, region) => {
    say(row.cells[2], bytes(region.pages * facts.page_bytes));
    const out = region.swapout_pages;
    say(row.cells[3], bytes(out === null ? null : out * facts.page_bytes));
  });
}

const RESOURCES = { ram: "RAM", swap: "swap" };

const between = (earliest, latest) => (earliest === latest ? `about ${latest}` : `${earliest} to ${latest}`);

/** What a forecast says, in words. */
export function words(forecast) {
  switch (forecast.outcome) {
    case "exhausts":
      return `full in ${between(span(forecast.earliest_seconds), span(forecast.latest_seconds))}`;
    case "reached":
      return "full now";
    case "falling":
      return "falls";
    case "too_far":
      return "rises, but too slowly to tell when it is full";
    case "no_trend":
      return "no trend";
    default:
      return "too few samples to tell";
  }
}

export function forecasts(document, problem) {
  const list = by("forecast-list");
  if (!document) {
    keyed(list, [problem ?? "n/a"], (text) => text, (text) => el("li", {}, text), () => {});
    return;
  }
  // Of units only those that something is foretold for.
  const shown = document.forecasts.filter(({ unit, outcome }) => unit === null || outcome === "exhausts" || outcome === "reached");
  const items = shown.length ? shown : [{ resource: "none", unit: "" }];
  const make = ({ resource, unit }) =>
    resource === "none"
      ? el("li", {}, "Nothing with a limit was stored in that time.")
      : el("li", {}, el("b", {}, RESOURCES[resource] ?? unit), el("span"));
  keyed(list, items, ({ resource, unit }) => `${resource} ${unit}`, make, (item, forecast) => {
    if (forecast.resource === "none") return;
    const soon = forecast.outcome === "exhausts" || forecast.outcome === "reached";
    item.classList.toggle("soon", soon);
    say(item.lastElementChild, ` ${bytes(forecast.used_bytes)} of ${bytes(forecast.limit_bytes)}: ${words(forecast)}`);
  });
}

export function agent(facts) {
  const it = facts.agent;
  if (!it) return say(by("agent"), "No agent runs.");
  const lost = it.events_lost;
  const missing = lost.records + lost.overflow_pages + lost.unattributed_pages + lost.missed_events;
  const parts = [
    `memmon ${it.version}, running since ${dateAndClock(it.since)}`,
    `attribution ${facts.attribution}`,
    it.dry_run ? "dry run: it changes nothing" : null,
    missing > 0 ? `${missing} events lost or not attributed` : null,
    ...it.degraded,
  ];
  say(by("agent"), `${parts.filter(Boolean).join(" · ")}.`);
}
