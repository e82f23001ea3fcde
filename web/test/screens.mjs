// Pictures of the page for docs/.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch, open } from "./browser.mjs";
import { Demo, freePort } from "./demo.mjs";

const CALM = 50_000;
const STORM = 35_000;

const VIEWS = {
  "web-light-wide": { colorScheme: "light", viewport: { width: 1280, height: 900 } },
  "web-dark-wide": { colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  "web-light-narrow": { colorScheme: "light", viewport: { width: 390, height: 844 } },
  "web-dark-narrow": { colorScheme: "dark", viewport: { width: 390, height: 844 } },
};

export async function take({ server, dist, screens }) {
  const dir = mkdtempSync(join(tmpdir(), "memmon-web-"));
  const demo = new Demo({ server, dist, port: await freePort(), more: ["--history", join(dir, "history.db")] });
  await demo.start();
  const browser = await launch();
  try {
    const pages = {};
    for (const [name, options] of Object.entries(VIEWS)) {
      pages[name] = await open(browser, demo.url, { ...options, reducedMotion: "reduce" });
    }
    const wait = (time) => new Promise((done) => setTimeout(done, time));
    await wait(CALM);
    demo.order("storm");
    await wait(STORM);
    for (const [name, { page }] of Object.entries(pages)) {
      await page.bringToFront();
      await page.waitForTimeout(1500);
      await page.screenshot({ path: join(screens, `${name}.png`) });
      if (name === "web-light-wide" || name === "web-dark-narrow") {
        if (name.endsWith("narrow")) await page.selectOption("#past-unit", "omnimind.service");
        await page.locator("#past").evaluate((element) => element.scrollIntoView({ block: "start" }));
        await page.waitForTimeout(1500);
        await page.screenshot({ path: join(screens, `${name}-history.png`) });
      }
    }
  } finally {
    await browser.close();
    await demo.kill();
    rmSync(dir, { recursive: true, force: true });
  }
}
