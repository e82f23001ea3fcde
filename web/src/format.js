// Values as text. What is not known is "n/a", which is not 0.

export const NA = "n/a";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(value) {
  if (value === null || value === undefined) return NA;
  let size = Math.abs(value);
  let unit = 0;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || size >= 100 ? 0 : 1;
  return `${value < 0 ? "−" : ""}${size.toFixed(digits)} ${UNITS[unit]}`;
}

export function rate(value) {
  return value === null || value === undefined ? NA : `${bytes(value)}/s`;
}

export function percent(share, digits = 1) {
  return share === null || share === undefined ? NA : `${(share * 100).toFixed(digits)} %`;
}

export function count(value) {
  return value === null || value === undefined ? NA : value.toLocaleString("en");
}

/** Milliseconds of stall per second of time. */
export function stall(value) {
  if (value === null || value === undefined) return NA;
  return `${value >= 100 || value === 0 ? value.toFixed(0) : value.toFixed(1)} ms/s`;
}

export function seconds(value) {
  if (value === null || value === undefined) return NA;
  return value > 0 && value < 0.1 ? `${(value * 1000).toFixed(1)} ms` : `${value.toFixed(1)} s`;
}

/** A limit of a cgroup: bytes, "max", or null where there is no such file. */
export function limit(value) {
  return value === "max" ? "no limit" : bytes(value);
}

/** A span of seconds, roughly. */
export function span(value) {
  const minutes = Math.round(value / 60);
  if (minutes < 120) return `${minutes} min`;
  if (minutes < 2880) return `${Math.round(minutes / 60)} h`;
  return `${Math.round(minutes / 1440)} days`;
}

export function clock(moment) {
  const date = new Date(moment);
  return Number.isNaN(date.getTime()) ? NA : date.toLocaleTimeString([], { hour12: false });
}

export function dateAndClock(moment) {
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return NA;
  return date.toLocaleString([], { dateStyle: "medium", timeStyle: "short", hour12: false });
}
