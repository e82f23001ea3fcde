// Charts in the page's colours, as wide as their place.
import uPlot from "uplot";

const HEIGHT = 150;
const DASHES = [[], [6, 3], [2, 3], [9, 3, 2, 3], [1, 2], [12, 4]];
/** The same as borders, which is what a legend has. */
const BORDERS = ["solid", "dashed", "dotted", "dashed", "dotted", "dashed"];
/** Steps of an axis of bytes. */
const BINARY = Array.from({ length: 50 }, (_, power) => 2 ** power);
const charts = new Set();

/** A colour of the page's current scheme. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const FONT = '12px system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif';

/**
 * A line of a chart. `text(value)` writes its value in the legend. Lines differ in dashes as well as in colour.
 */
export function line(label, index, text, more = {}) {
  return {
    label,
    stroke: () => colour(`line-${(index % 6) + 1}`),
    width: 1.75,
    dash: DASHES[index % 6],
    points: { show: false },
    border: BORDERS[index % 6],
    // Without a place that is pointed at, the latest one.
    value: (plot, value, series, place) => {
      const shown = place === null ? plot.data[series].findLast((one) => one !== null && one !== undefined) : value;
      return shown === null || shown === undefined ? "n/a" : text(shown);
    },
    ...more,
  };
}

function axes(text, binary, right) {
  const common = {
    stroke: () => colour("muted"),
    font: FONT,
    grid: { stroke: () => colour("grid"), width: 1 },
    ticks: { stroke: () => colour("grid"), width: 1, size: 5 },
  };
  const y = (scale, side, write, more) => ({
    ...common,
    scale,
    side,
    size: 72,
    values: (_, splits) => splits.map((value) => (value === null ? "" : write(value))),
    ...more,
  });
  const all = [{ ...common, space: 64, size: 26, values: TIMES }, y("y", 3, text, { space: 26, ...(binary ? { incrs: BINARY } : {}) })];
  if (right) all.push(y("right", 1, right, { grid: { show: false } }));
  return all;
}

const pad = (number) => String(number).padStart(2, "0");

/** Times of day, and the date where a day begins or steps are days. */
function TIMES(_, splits, __, ___, step) {
  return splits.map((split) => {
    const date = new Date(split * 1000);
    const day = `${date.getDate()} ${date.toLocaleString("en", { month: "short" })}`;
    const [hours, minutes] = [date.getHours(), date.getMinutes()];
    if (step >= 86400 || (hours === 0 && minutes === 0 && step >= 3600)) return day;
    const time = `${pad(hours)}:${pad(minutes)}`;
    return step < 60 ? `${time}:${pad(date.getSeconds())}` : time;
  });
}

export class Chart {
  /**
   * A chart in `place`; `text` writes values of its left axis, bytes if it is `binary`, and `right` those of the right
   * one, if it has one.
   */
  constructor(place, { text, binary = false, right = null, range = null, bands = [], hooks = {} }) {
    this.place = place;
    this.options = { text, binary, right, range, bands, hooks };
    this.lines = null;
    this.names = "";
    this.data = null;
    this.plot = null;
    charts.add(this);
    new ResizeObserver(() => this.#fit()).observe(place);
  }

  /** Shows columns: times first, then one for each of `lines`. `summary` is what those hear who do not see it. */
  show(lines, data, summary, bands = this.options.bands) {
    this.place.setAttribute("aria-label", summary);
    this.data = data;
    const names = lines.map((line) => line.label).join("\n");
    if (this.plot && names === this.names) {
      this.plot.setData(data);
      return;
    }
    this.lines = lines;
    this.names = names;
    this.bands = bands;
    this.draw();
  }

  /** Draws it anew, in the colours that hold now. */
  draw() {
    this.plot?.destroy();
    this.plot = null;
    if (!this.data || this.place.clientWidth === 0) return;
    const { text, binary, right, range, hooks } = this.options;
    const y = range ? { range } : {};
    this.place.setAttribute("role", "group");
    this.plot = new uPlot(
      {
        width: this.place.clientWidth,
        height: HEIGHT,
        series: [{ label: "Time", value: (_, at) => (at === null ? "now" : new Date(at * 1000).toLocaleString([], { hour12: false })) }, ...this.lines],
        scales: { x: { time: true }, y, ...(right ? { right: { range: (_, low, high) => zeroBased(_, low, high, 0.1) } } : {}) },
        axes: axes(text, binary, right),
        bands: this.bands,
        cursor: { drag: { x: false, y: false }, points: { size: 6 } },
        legend: { live: true, markers: { width: 2, dash: (plot, index) => plot.series[index].border ?? "solid" } },
        hooks,
      },
      this.data,
      this.place,
    );
  }

  #fit() {
    if (!this.plot) return this.draw();
    const width = this.place.clientWidth;
    if (width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }
}

/** From zero to a little above the highest value, or to `least` if that is more. */
export function zeroBased(_, __, highest, least = 1) {
  return [0, Math.max(Number.isFinite(highest) ? highest * 1.1 : 0, least)];
}

export const bars = uPlot.paths.bars({ size: [0.9, 24], align: 1 });

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of charts) chart.draw();
});
