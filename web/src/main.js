// memmon's page: what the agent says each second, and what it has stored.
import { by, say } from "./dom.js";
import { Samples } from "./samples.js";
import { follow, showToken } from "./stream.js";
import * as lists from "./lists.js";
import * as live from "./live.js";
import * as past from "./past.js";
import * as units from "./units.js";

/** After so long without an agent the page says so instead of that it tries again. */
const PATIENCE = 4000;

const samples = new Samples();
let facts = null;
let since = null;
let lostAt = null;
let state = "connecting";
let scheduled = false;

const STATES = {
  connecting: ["Connecting…", ""],
  live: ["Live", ""],
  silent: ["No answer", "The agent is there, but its loop does not answer. What is shown is old."],
  lost: ["Connecting again…", "The connection is lost. What is shown is old."],
  gone: ["No agent", "No agent answers at this address. What is shown is old; the page goes on by itself when there is one."],
  full: ["Turned away", "The agent serves as many pages as it can. This one tries again."],
  locked: ["Locked", ""],
};

function become(next, why) {
  if (next !== "lost") lostAt = null;
  else {
    lostAt ??= performance.now();
    if (performance.now() - lostAt > PATIENCE) next = "gone";
  }
  if (next === "locked") lock(why);
  if (state === next) return;
  state = next;
  document.body.dataset.state = state;
  const [text, notice] = STATES[state];
  say(by("state-text"), text);
  if (state !== "locked") tell(notice);
}

function tell(text) {
  say(by("notice"), text);
  by("notice").hidden = text === "";
}

function lock(status) {
  by("token-form").hidden = status !== 401;
  tell(status === 401 ? "" : "This page is for the host itself: open it as 127.0.0.1 or localhost, or set token_file in [http] of memmon.toml.");
  if (status === 401) by("token").focus();
}

function hear(document_) {
  facts = document_;
  const first = since === null;
  const restarted = !first && since !== facts.agent?.since;
  since = facts.agent?.since ?? since;
  samples.add(facts);
  past.learn(facts);
  if (first || restarted) past.refresh();
  // While nobody looks, nothing is drawn.
  if (!scheduled && !document.hidden) {
    scheduled = true;
    requestAnimationFrame(draw);
  }
}

function draw() {
  scheduled = false;
  if (!facts) return;
  lists.alarms(facts);
  live.tiles(facts, samples);
  live.draw(samples);
  units.show(facts, samples);
  lists.leases(facts);
  lists.blame(facts);
  lists.regions(facts);
  lists.agent(facts);
  past.offer(facts.units.map((unit) => unit.unit));
}

units.begin(past.choose);
past.begin();
say(by("host"), location.host);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) draw();
});
setInterval(() => {
  if (lostAt !== null) become("lost");
}, 1000);

const stream = follow({ facts: hear, state: become });

by("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = by("token").value.trim();
  say(by("token-error"), "");
  try {
    if (await showToken(token)) {
      by("token-form").hidden = true;
      by("token").value = "";
      stream.open();
      past.refresh();
      by("main").focus();
      return;
    }
    say(by("token-error"), "That is not the token.");
  } catch {
    say(by("token-error"), "The agent does not answer.");
  }
  by("token").select();
});
