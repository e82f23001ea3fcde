// The last ten minutes, as columns of equal length: null where something is not known.

const KEPT = 600;
/** After so many seconds without news the lines are interrupted. */
const GAP = 5;

export class Samples {
  constructor() {
    this.times = [];
    this.columns = { ram: [], swap: [], some: [], full: [], out: [] };
    /** Swap-out in bytes per second and stall in milliseconds per second, by unit. */
    this.units = new Map();
    this.before = null;
  }

  /**
   * Takes over what the agent said. Its own time counts: events arrive late, and several at once, where the browser is
   * busy. Counters of another agent begin anew.
   */
  add(document) {
    const now = document.at;
    const last = this.times.at(-1);
    if (last !== undefined && now <= last) return;
    if (last !== undefined && now - last > GAP) this.#row(last + 1, null, null);
    const before = this.before?.since === document.agent?.since ? this.before : null;
    const elapsed = before ? now - before.now : null;
    this.#row(now, document, elapsed === null || elapsed < 0.05 ? null : { before, elapsed });
    const counters = new Map(
      document.units.map((unit) => [unit.unit, [unit.swapout_pages, unit.stall_seconds]]),
    );
    this.before = { since: document.agent?.since, now, counters };
  }

  #row(at, document, compared) {
    this.times.push(at);
    const { system } = document ?? {};
    const rates = new Map();
    for (const unit of document?.units ?? []) rates.set(unit.unit, unitRates(unit, document.page_bytes, compared));
    const outs = [...rates.values()].map(([out]) => out).filter((out) => out !== null);
    this.columns.ram.push(system?.ram_used ?? null);
    this.columns.swap.push(system?.swap_used ?? null);
    this.columns.some.push(system?.psi_some?.avg10 ?? null);
    this.columns.full.push(system?.psi_full?.avg10 ?? null);
    this.columns.out.push(outs.length ? outs.reduce((sum, out) => sum + out, 0) : null);
    for (const name of rates.keys()) if (!this.units.has(name)) this.units.set(name, this.#empty());
    for (const [name, unit] of this.units) {
      const [out, stall] = rates.get(name) ?? [null, null];
      unit.out.push(out);
      unit.stall.push(stall);
    }
    this.#forget();
  }

  #empty() {
    const nothing = () => new Array(this.times.length - 1).fill(null);
    return { out: nothing(), stall: nothing() };
  }

  #forget() {
    if (this.times.length <= KEPT) return;
    this.times.shift();
    for (const column of Object.values(this.columns)) column.shift();
    for (const [name, unit] of this.units) {
      unit.out.shift();
      unit.stall.shift();
      if (unit.out.every((value) => value === null)) this.units.delete(name);
    }
  }

  /** The latest rates of a unit: bytes per second, milliseconds per second. */
  latest(name) {
    const unit = this.units.get(name);
    return { out: unit?.out.at(-1) ?? null, stall: unit?.stall.at(-1) ?? null };
  }

  /** The names of the units with most of `what` in all, at most `many`; none without any. */
  top(what, many) {
    const sum = (values) => values.reduce((all, value) => all + (value ?? 0), 0);
    return [...this.units]
      .map(([name, unit]) => [name, sum(unit[what])])
      .filter(([, all]) => all > 0)
      .sort((a, b) => b[1] - a[1])
      .slice(0, many)
      .map(([name]) => name);
  }
}

function unitRates(unit, page, compared) {
  const counted = compared?.before.counters.get(unit.unit);
  if (!counted) return [null, null];
  const [out, stall] = counted;
  const gained = (now, then) => (now === null || then === null ? null : Math.max(0, now - then) / compared.elapsed);
  const pages = gained(unit.swapout_pages, out);
  const stalled = gained(unit.stall_seconds, stall);
  return [pages === null ? null : pages * page, stalled === null ? null : stalled * 1000];
}
