// The page against a made-up agent.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { REFUSED, assertClean, launch, open } from "./browser.mjs";
import { assertContrast, assertFits, assertNamed, tabThrough } from "./checks.mjs";
import { Demo, freePort } from "./demo.mjs";
import { firstPaint } from "./live.mjs";

const CRITICAL = "omnimind.service";
const LARGEST = 150 * 1024;
const VIEWERS = 32;

const state = (page, name) => page.waitForSelector(`body[data-state="${name}"]`, { timeout: 30_000 });
const row = (page, unit) => page.locator("#units-table tbody tr", { has: page.getByRole("button", { name: unit, exact: true }) });

const cases = {
  async "loads, small and soon"({ browser, demo }) {
    const watched = await open(browser, demo.url);
    const { page } = watched;
    await state(page, "live");
    await page.waitForSelector("#c-past canvas");
    const headers = watched.response.headers();
    assert.match(headers["content-security-policy"], /^default-src 'none'; script-src 'self'; style-src 'self'/);
    assert.doesNotMatch(headers["content-security-policy"], /unsafe/);
    const files = await page.evaluate(() =>
      [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
        .filter(({ name }) => !name.includes("/api/"))
        .map(({ name, encodedBodySize }) => [new URL(name).pathname, encodedBodySize]),
    );
    const size = files.reduce((sum, [, bytes]) => sum + bytes, 0);
    assert.deepEqual(files.map(([path]) => path).sort().slice(0, 3), ["/", "/app.css", "/app.js"]);
    assert.ok(size > 10_000 && size < LARGEST, `${size} bytes: ${JSON.stringify(files)}`);
    assertClean(watched);
    return { compressed_bytes: size, first_paint_ms: await firstPaint(page) };
  },

  async "shows what happens without being loaded again"({ browser, demo }) {
    const watched = await open(browser, demo.url);
    const { page } = watched;
    await state(page, "live");
    await page.getByText("No alarm:").waitFor();
    const marker = await page.evaluate(() => window.marker);
    const began = performance.now();
    demo.order("storm");
    await page.locator("#alarm-list .alarm", { hasText: CRITICAL }).waitFor();
    const shown = Math.round(performance.now() - began);
    const news = page.getByRole("status").filter({ hasText: `critical alarm: pages of ${CRITICAL}` });
    assert.equal(await news.count(), 1);
    await page.locator("#lease-list .lease", { hasText: "MemorySwapMax" }).waitFor();
    await page.locator("#blame-table tr", { hasText: CRITICAL }).waitFor();
    const out = row(page, CRITICAL).locator("td").nth(4);
    await page.waitForFunction((cell) => /[KMG]iB\/s/.test(cell.textContent), await out.elementHandle());
    await page.locator("#c-out-text", { hasText: "most: backup.service" }).waitFor();
    assert.match(await page.title(), /^\(1\) /);
    demo.order("calm");
    await page.getByText("No alarm:").waitFor();
    await page.getByText("None: every limit is as it was.").waitFor();
    assert.equal(await page.locator("#alarm-news").innerText(), "No alarm any more.");
    assert.equal(await page.evaluate(() => window.marker), marker);
    assertClean(watched);
    return { alarm_shown_after_ms: shown };
  },

  async "tells what is not known from zero, and no process"({ browser, demo }) {
    const watched = await open(browser, demo.url);
    const { page } = watched;
    await state(page, "live");
    const cells = (unit) => row(page, unit).locator("td").allInnerTexts();
    await page.getByRole("button", { name: "Show all 16" }).click();
    await row(page, "cron.service").waitFor();
    assert.equal((await cells("cron.service"))[3], "n/a");
    assert.equal((await cells("omnimind-daemon.service"))[3], "0 B");
    await page.locator("#regions", { hasText: "embeddings" }).waitFor();
    const html = await page.content();
    const events = await page.evaluate(async () => {
      const reader = (await fetch("/api/live")).body.getReader();
      let text = "";
      while (!text.includes("regions")) text += new TextDecoder().decode((await reader.read()).value);
      await reader.cancel();
      return text;
    });
    for (const text of [html, events]) assert.doesNotMatch(text, /4242424|system\.slice/);
    assertClean(watched);
  },

  async "goes on after a restart of the agent"({ browser, demo }) {
    const watched = await open(browser, demo.url);
    const { page } = watched;
    await state(page, "live");
    const marker = await page.evaluate(() => window.marker);
    const agent = await page.locator("#agent").innerText();
    watched.expected = REFUSED;
    await demo.kill();
    await state(page, "lost");
    await page.getByText("What is shown is old").first().waitFor();
    await state(page, "gone");
    await page.locator("#notice", { hasText: "No agent answers at this address" }).waitFor();
    const began = performance.now();
    await demo.start();
    await state(page, "live");
    const back = Math.round(performance.now() - began);
    watched.expected = null;
    assert.equal(await page.locator("#notice").isVisible(), false);
    assert.equal(await page.evaluate(() => window.marker), marker);
    await page.locator("#agent", { hasText: "running since" }).waitFor();
    // Counters began anew: the jump is no rate.
    await page.waitForTimeout(2500);
    assert.match(await page.locator("#t-out").innerText(), /^(\d+(\.\d)? (B|KiB)\/s)$/);
    assertClean(watched);
    return { live_again_after_ms: back, agent };
  },

  async "counts by the agent's time, not by when its events arrive"({ browser, demo }) {
    const watched = await open(browser, demo.url);
    const { page } = watched;
    await state(page, "live");
    await page.waitForTimeout(2500);
    // The browser is busy for seconds; then everything comes at once.
    for (let time = 0; time < 3; time += 1) {
      await page.evaluate(() => {
        const end = performance.now() + 3500;
        while (performance.now() < end);
      });
      await page.waitForTimeout(1200);
      const rate = await page.locator("#t-out").innerText();
      assert.match(rate, /^\d+(\.\d)? (B|KiB)\/s$/, "calm is some kibibytes a second");
      assert.ok(parseFloat(rate) < 400 || rate.endsWith(" B/s"), rate);
    }
    assertClean(watched);
  },

  async "says that the agent does not answer"({ browser, demo }) {
    const watched = await open(browser, demo.url);
    const { page } = watched;
    await state(page, "live");
    demo.order("silent");
    await state(page, "silent");
    await page.locator("#notice", { hasText: "loop does not answer" }).waitFor();
    demo.order("calm");
    await state(page, "live");
    assertClean(watched);
  },

  async "shows history in every range, with its forecast"({ browser, demo }) {
    const watched = await open(browser, demo.url);
    const { page } = watched;
    await state(page, "live");
    await page.locator("#forecast-list li", { hasText: /RAM.*full in/ }).waitFor();
    await row(page, CRITICAL).getByRole("button").click();
    assert.equal(await page.locator("#past-unit").inputValue(), CRITICAL);
    const texts = new Set();
    for (const range of ["1 h", "6 h", "24 h", "7 d", "30 d"]) {
      const answer = page.waitForResponse((response) => response.url().includes("/api/history"));
      await page.locator("#past-range label", { hasText: range }).click();
      const past = await (await answer).json();
      assert.equal(past.unit, CRITICAL);
      assert.ok(past.at.length > 5 && past.at.length <= 1000, `${range}: ${past.at.length} rows`);
      await page.waitForFunction((first) => document.querySelector("#past-text").textContent.length > 0 && first, true);
      texts.add(await page.locator("#past-text").innerText());
      await page.waitForSelector("#c-past canvas");
    }
    assert.ok(texts.size >= 4, [...texts].join("\n"));
    assert.match([...texts].join("\n"), /\d alarms?, forecast: full in/);
    assertClean(watched);
  },

  async "can be used by keyboard alone"({ browser, demo }) {
    const watched = await open(browser, demo.url);
    const { page } = watched;
    await state(page, "live");
    await row(page, CRITICAL).waitFor();
    await page.waitForSelector("#c-past canvas");
    await assertNamed(page);
    const reached = await tabThrough(page);
    const names = reached.map(({ id, name }) => id || name);
    for (const wanted of ["Skip to the facts", "Units", "filter", "Priority", CRITICAL, "past-unit", "6 h"]) {
      assert.ok(names.some((name) => name === wanted || name.startsWith(wanted)), `${wanted} is not among ${names}`);
    }
    assert.deepEqual(reached.filter(({ seen }) => !seen), [], "focus cannot be seen");
    // A row is found, sorted and opened.
    await page.focus("#filter");
    await page.keyboard.type("postgres");
    await page.waitForFunction(() => document.querySelectorAll("#units-table tbody tr").length === 1);
    await row(page, "postgresql@15-main.service").getByRole("button").focus();
    // It is where it was although the row has been written anew since.
    await page.waitForTimeout(2200);
    await page.keyboard.press("Enter");
    assert.equal(await page.locator("#past-unit").inputValue(), "postgresql@15-main.service");
    assert.equal(await page.evaluate(() => document.activeElement.id), "past-unit");
    await page.fill("#filter", "");
    await page.getByRole("button", { name: "Swap", exact: true }).press("Enter");
    assert.equal(await page.locator("th[aria-sort=descending]").innerText(), "Swap ▾");
    assertClean(watched);
  },

  async "can be read: contrast, width, motion, both schemes"({ browser, demo }) {
    const looked = {};
    for (const colorScheme of ["light", "dark"]) {
      for (const [width, height] of [[1280, 900], [360, 740]]) {
        const options = { colorScheme, viewport: { width, height }, reducedMotion: "reduce" };
        const watched = await open(browser, demo.url, options);
        const { page } = watched;
        const what = `${colorScheme} ${width}`;
        await state(page, "live");
        await page.waitForSelector("#c-past canvas");
        await assertFits(page, what);
        demo.order("storm");
        await page.locator("#alarm-list .alarm").waitFor();
        await page.waitForFunction(() => document.querySelectorAll("#c-out .u-legend tr").length > 2);
        await page.getByRole("button", { name: /^Show all/ }).click();
        await assertFits(page, `${what}, storm`);
        looked[what] = await assertContrast(page, what);
        const moving = await page.evaluate(() => getComputedStyle(document.querySelector(".meter i")).transitionDuration);
        assert.equal(moving, "0s");
        demo.order("calm");
        await page.getByText("No alarm:").waitFor();
        assertClean(watched);
        await watched.context.close();
      }
    }
    return looked;
  },

  async "asks for the token once"({ browser, make }) {
    const dir = mkdtempSync(join(tmpdir(), "memmon-web-"));
    const token = "correct-horse-battery";
    writeFileSync(join(dir, "token"), `${token}\n`, { mode: 0o600 });
    const demo = await make(["--token-file", join(dir, "token"), "--history", join(dir, "history.db")]);
    try {
      const watched = await open(browser, demo.url);
      const { page } = watched;
      watched.expected = REFUSED;
      await state(page, "locked");
      await page.locator("#token-form").waitFor();
      await page.waitForTimeout(2500);
      await state(page, "locked");
      assert.equal(await page.locator("main").isVisible(), false);
      await page.keyboard.type("wrong-horse-battery");
      await page.keyboard.press("Enter");
      await page.getByText("That is not the token.").waitFor();
      await page.fill("#token", token);
      await page.keyboard.press("Enter");
      await state(page, "live");
      watched.expected = null;
      await page.waitForSelector("#c-memory canvas");
      assert.equal(await page.locator("#token-form").isVisible(), false);
      await page.reload();
      await state(page, "live");
      const [cookie] = await watched.context.cookies();
      assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Strict"]);
      assertClean(watched);
    } finally {
      await demo.kill();
      rmSync(dir, { recursive: true });
    }
  },

  async "waits for a place where there are too many viewers, and says where no history is"({ browser, make }) {
    const demo = await make([]);
    const others = new AbortController();
    try {
      for (let viewer = 0; viewer < VIEWERS; viewer += 1) {
        const response = await fetch(`${demo.url}api/live`, { signal: others.signal });
        assert.equal(response.status, 200);
        // Read to the end: node closes the connection of an answer that nobody reads when it is collected as garbage.
        response.body.pipeTo(new WritableStream()).catch(() => {});
      }
      const watched = await open(browser, "about:blank");
      watched.expected = REFUSED;
      const { page } = watched;
      watched.problems.length = 0;
      await page.goto(demo.url);
      await state(page, "full");
      await page.locator("#notice", { hasText: "as many pages as it can" }).waitFor();
      await page.waitForTimeout(2500);
      await state(page, "full");
      others.abort();
      await state(page, "live");
      await page.locator("#past-text", { hasText: "n/a: no history is stored" }).waitFor();
      await page.locator("#forecast-list", { hasText: "n/a: no history is stored" }).waitFor();
      await watched.context.close();
    } finally {
      others.abort();
      await demo.kill();
    }
  },

  async "serves twenty viewers who come at once"({ demo }) {
    const stop = new AbortController();
    const viewer = async () => {
      const files = ["", "app.css", "app.js", "icon.svg", "api/history", "api/forecast"];
      const answers = await Promise.all(files.map((file) => fetch(`${demo.url}${file}`)));
      // Of history there may be more questions than may wait.
      assert.deepEqual(answers.slice(0, 4).map(({ status }) => status), [200, 200, 200, 200]);
      for (const answer of answers.slice(4)) assert.ok([200, 503].includes(answer.status), `${answer.url}: ${answer.status}`);
      await Promise.all(answers.map((answer) => answer.arrayBuffer()));
      const stream = (await fetch(`${demo.url}api/live`, { signal: stop.signal })).body.getReader();
      let [text, events] = ["", 0];
      while (events < 3) {
        text += new TextDecoder().decode((await stream.read()).value);
        events = text.split("event: live").length - 1;
      }
    };
    try {
      await Promise.all(Array.from({ length: 20 }, viewer));
    } finally {
      stop.abort();
    }
  },

  async "notices what it looks for"({ browser, demo }) {
    const watched = await open(browser, demo.url);
    const { page } = watched;
    await state(page, "live");
    await page.evaluate(() => {
      document.body.insertAdjacentHTML("beforeend", '<p style="color: red" onclick="1">styled</p>');
      fetch("http://127.0.0.2:9/").catch(() => {});
    });
    await page.waitForTimeout(300);
    assert.ok(watched.problems.some((problem) => problem.includes("violation of the policy: style-src-attr")), watched.problems.join("\n"));
    assert.ok(watched.problems.some((problem) => /violation of the policy: connect-src/.test(problem)), watched.problems.join("\n"));
    // Styles that scripts set are allowed: the charts live on it.
    assert.equal(await page.evaluate(() => document.querySelector("#c-memory .u-wrap").style.width !== ""), true);
    await page.evaluate(() => document.getElementById("main").style.setProperty("width", "2000px"));
    await assert.rejects(assertFits(page, "widened"));
    await page.evaluate(() => document.body.style.setProperty("color", "#999"));
    await assert.rejects(assertContrast(page, "paled"));
  },
};

/** Runs the cases; says how each went. Returns how many failed. */
export async function runAll({ server, dist, only }) {
  const dir = mkdtempSync(join(tmpdir(), "memmon-web-"));
  const make = async (more, scene) => {
    const demo = new Demo({ server, dist, port: await freePort(), more });
    await demo.start(scene);
    return demo;
  };
  const demo = await make(["--history", join(dir, "history.db")]);
  const browser = await launch();
  let [passed, failed] = [0, 0];
  try {
    for (const [name, run] of Object.entries(cases)) {
      if (!name.includes(only)) continue;
      const began = performance.now();
      try {
        const told = await run({ browser, demo, make });
        passed += 1;
        console.log(`ok ${name} (${Math.round(performance.now() - began)} ms)${told ? ` ${JSON.stringify(told)}` : ""}`);
      } catch (error) {
        failed += 1;
        console.log(`FAIL ${name}: ${error.stack}`);
      }
      for (const context of browser.contexts()) await context.close();
      await demo.kill();
      await demo.start();
    }
  } finally {
    await browser.close();
    await demo.kill();
    rmSync(dir, { recursive: true, force: true });
  }
  console.log(`web: ${passed} passed, ${failed} failed`);
  return failed;
}
