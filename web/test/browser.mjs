// A headless Chromium, and pages that notice what must not happen.
import { chromium } from "playwright-core";

const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";
const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-proxy-server",
];

/** With a profile of its own, which is new. */
export function launch() {
  return chromium.launch({ executablePath: EXECUTABLE, headless: true, args: ARGUMENTS });
}

/** What the browser itself says when a server is away or refuses: expected where a case takes it away. */
export const REFUSED = /^Failed to load resource: (net::ERR_|the server responded with a status of (401|403|404|503))/;

/**
 * Opens a page and watches it. `watched.problems` has console errors, violations of the policy, exceptions and requests
 * to elsewhere; what matches `watched.expected` is none.
 */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "UTC", ...options });
  const page = await context.newPage();
  const watched = { page, context, problems: [], expected: null };
  const note = (text) => {
    if (!watched.expected?.test(text)) watched.problems.push(text);
  };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) note(`${message.text()} ${message.location().url ?? ""}`);
  });
  page.on("pageerror", (error) => note(`exception: ${error.stack}`));
  const { origin } = new URL(url);
  page.on("request", (request) => {
    if (!request.url().startsWith(`${origin}/`)) note(`request to elsewhere: ${request.url()}`);
  });
  await page.exposeFunction("noteViolation", (text) => note(`violation of the policy: ${text}`));
  await page.addInitScript(() => {
    window.marker = Math.random();
    document.addEventListener("securitypolicyviolation", (event) => {
      window.noteViolation(`${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  const response = await page.goto(url);
  watched.response = response;
  return watched;
}

/** The problems of a page, as an error. */
export function assertClean(watched) {
  if (watched.problems.length) throw new Error(`the page is not clean:\n  ${watched.problems.join("\n  ")}`);
}
