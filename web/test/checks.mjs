// What a page must be like, whatever it shows.
import assert from "node:assert/strict";

/** Nothing is wider than the window. */
export async function assertFits(page, what) {
  const [wide, window_] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(wide <= window_, `${what}: the page is ${wide} pixels wide in a window of ${window_}`);
}

/** Every text that can be seen differs enough from what is behind it (WCAG 2.2, 1.4.3). Returns how many there were. */
export async function assertContrast(page, what) {
  const { poor, looked } = await page.evaluate(() => {
    const channels = (text) => text.match(/[\d.]+/g).map(Number);
    const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const over = (top, below) => [0, 1, 2].map((i) => top[i] * (top[3] ?? 1) + below[i] * (1 - (top[3] ?? 1)));
    const behind = (element) => {
      const layers = [];
      for (let at = element; at; at = at.parentElement) {
        const layer = channels(getComputedStyle(at).backgroundColor);
        layers.push(layer);
        if ((layer[3] ?? 1) === 1) break;
      }
      return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
    };
    const ratio = (a, b) => {
      const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
      return (high + 0.05) / (low + 0.05);
    };
    const poor = [];
    let looked = 0;
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const { parentElement: element, data } = texts.currentNode;
      if (!data.trim() || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
      if (element.closest("noscript, option, script, style")) continue;
      looked += 1;
      const back = behind(element);
      const found = ratio(over(channels(getComputedStyle(element).color), back), back);
      if (found < 4.5) poor.push(`${found.toFixed(2)} for ${JSON.stringify(data.trim().slice(0, 40))}`);
    }
    // The text in the charts is drawn.
    const root = getComputedStyle(document.documentElement);
    const probe = document.createElement("p");
    document.body.append(probe);
    const variable = (name) => {
      probe.style.color = root.getPropertyValue(name);
      return channels(getComputedStyle(probe).color);
    };
    const drawn = ratio(variable("--muted"), variable("--card"));
    if (drawn < 4.5) poor.push(`${drawn.toFixed(2)} for the text in charts`);
    // Lines need less (WCAG 2.2, 1.4.11).
    for (let index = 1; index <= 6; index += 1) {
      const line = ratio(variable(`--line-${index}`), variable("--card"));
      if (line < 3) poor.push(`${line.toFixed(2)} for line ${index}`);
    }
    probe.remove();
    return { poor, looked };
  });
  assert.ok(looked > 50, `${what}: only ${looked} texts were looked at`);
  assert.deepEqual(poor, [], `${what}: too little contrast`);
  return looked;
}

/** Presses Tab through the whole page; returns what was reached, in order. */
export async function tabThrough(page, most = 120) {
  await page.evaluate(() => {
    document.activeElement?.blur();
    getSelection().removeAllRanges();
    window.scrollTo(0, 0);
  });
  const reached = [];
  for (let step = 0; step < most; step += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const element = document.activeElement;
      if (!element || element === document.body) return null;
      const marked = element.matches(".ranges input") ? element.nextElementSibling : element;
      const { outlineStyle, outlineWidth } = getComputedStyle(marked);
      const seen = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
      const name = element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent;
      return { id: element.id, tag: element.tagName, name: name.trim().slice(0, 40), seen };
    });
    if (at === null) break;
    reached.push(at);
  }
  return reached;
}

/** Every element that can be used has a name that can be read out. */
export async function assertNamed(page) {
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll("button, a, input, select, [role=region], [role=group], figure .chart")]
      .filter((element) => element.checkVisibility())
      .filter((element) => {
        const by = element.getAttribute("aria-labelledby");
        const name = by ? document.getElementById(by)?.textContent : (element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent);
        return !name?.trim();
      })
      .map((element) => element.outerHTML.slice(0, 100)),
  );
  assert.deepEqual(nameless, []);
}
