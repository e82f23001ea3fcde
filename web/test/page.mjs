// Tries memmon's page in a headless Chromium.
//
//   node test/page.mjs --server PROGRAM --dist DIR [--screens DIR]
//       against a made-up agent; with MEMMON_SCREENS=1 in the environment also takes the pictures for docs/.
//   node test/page.mjs --url URL --expect live --unit UNIT [--deadline SECONDS] [--token TOKEN]
//       against a running agent: waits until an alarm of the unit and its swap-outs are on the page, and for the alarm's
//       end with --expect cleared, or for one after the other with --expect both; prints how long it took as JSON.
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    server: { type: "string" },
    dist: { type: "string" },
    screens: { type: "string" },
    url: { type: "string" },
    expect: { type: "string" },
    unit: { type: "string" },
    deadline: { type: "string", default: "120" },
    token: { type: "string" },
    only: { type: "string", default: "" },
  },
});

if (values.url) {
  const { expectOn } = await import("./live.mjs");
  await expectOn(values);
} else if (values.server && values.dist) {
  const { runAll } = await import("./cases.mjs");
  const failed = await runAll(values);
  if (process.env.MEMMON_SCREENS && values.screens) {
    const { take } = await import("./screens.mjs");
    await take(values);
  }
  process.exitCode = failed ? 1 : 0;
} else {
  console.error("say either --server and --dist, or --url, --expect and --unit");
  process.exitCode = 2;
}
