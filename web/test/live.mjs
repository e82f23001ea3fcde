// A real agent's page: waits for what is to appear on it.
import { assertClean, launch, open } from "./browser.mjs";

/** Says as JSON, one line each, when the page is live and when it shows what is expected. */
export async function expectOn({ url, expect, unit, deadline, token }) {
  const [first, then] = { live: ["live"], cleared: ["cleared"], both: ["live", "cleared"] }[expect] ?? [];
  if (!first || !unit) throw new Error("--expect is live, cleared or both, and --unit is needed");
  const timeout = Number(deadline) * 1000;
  const browser = await launch();
  try {
    const extraHTTPHeaders = token ? { Authorization: `Bearer ${token}` } : {};
    const watched = await open(browser, url, { extraHTTPHeaders });
    // An agent that has just started has stored nothing yet.
    watched.expected = /status of 404 .*\/api\/(history|forecast)/;
    const { page } = watched;
    const began = performance.now();
    const since = () => Math.round(performance.now() - began);
    await page.waitForSelector('body[data-state="live"]', { timeout });
    const marker = await page.evaluate(() => window.marker);
    say({ event: "ready", milliseconds: since(), first_paint_ms: await firstPaint(page) });
    const alarm = page.locator("#alarm-list .alarm", { hasText: unit });
    if (first === "live") {
      await alarm.first().waitFor({ timeout });
      // Seconds since 1970, to be compared with when it happened.
      say({ event: "alarm", milliseconds: since(), at: Date.now() / 1000, text: await alarm.first().innerText() });
      await page.fill("#filter", unit);
      await page.waitForFunction(swappedOut, unit, { timeout });
      say({ event: "swap_out", milliseconds: since(), at: Date.now() / 1000 });
    }
    if (first === "cleared" || then === "cleared") {
      await page.waitForFunction((name) => ![...document.querySelectorAll("#alarm-list .alarm")].some((a) => a.textContent.includes(name)), unit, { timeout });
      say({ event: "cleared", milliseconds: since(), at: Date.now() / 1000 });
    }
    if ((await page.evaluate(() => window.marker)) !== marker) throw new Error("the page was loaded again");
    assertClean(watched);
  } finally {
    await browser.close();
  }
}

/** The unit's row counts pages that went out. */
function swappedOut(unit) {
  const rows = [...document.querySelectorAll("#units-table tbody tr")];
  const row = rows.find((candidate) => candidate.cells[0].textContent === unit);
  const total = row?.cells[6].textContent ?? "n/a";
  return total !== "n/a" && total !== "0 B";
}

function say(what) {
  console.log(JSON.stringify(what));
}

/** Milliseconds from the request to the first text on the screen. */
export async function firstPaint(page) {
  return page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null);
}
