// The stream of what the agent knows, however often it breaks off.

/** Without an event for so long, the stream is taken for dead although nobody said so. */
const QUIET = 6000;
const AGAIN = 2000;

/**
 * Follows the agent. `on.facts(document)` for each event; `on.state(state, why)` with "live", "silent" (the agent's loop
 * does not answer), "lost" (trying again), "full" (too many viewers) or "locked" (a token is needed, or none will help).
 */
export function follow(on) {
  let source = null;
  let heard = 0;
  let timer = null;

  function open() {
    clearTimeout(timer);
    source?.close();
    heard = performance.now();
    source = new EventSource("/api/live");
    source.addEventListener("live", (event) => {
      heard = performance.now();
      on.state("live");
      on.facts(JSON.parse(event.data));
    });
    source.addEventListener("silent", () => {
      heard = performance.now();
      on.state("silent");
    });
    source.addEventListener("error", () => {
      // While it is connecting, the browser goes on by itself.
      if (source.readyState === EventSource.CLOSED) askWhy();
      else on.state("lost");
    });
  }

  /** The browser does not tell why a stream was refused. */
  async function askWhy() {
    try {
      const { status } = await fetch("/api/session", { cache: "no-store" });
      if (status === 401 || status === 403) return on.state("locked", status);
      if (status === 204) on.state("full");
    } catch {
      on.state("lost");
    }
    timer = setTimeout(open, AGAIN);
  }

  setInterval(() => {
    if (source && source.readyState === EventSource.OPEN && performance.now() - heard > QUIET) {
      on.state("lost");
      open();
    }
  }, 1000);
  open();
  return { open };
}

/** Shows the token; whether it was the right one. */
export async function showToken(token) {
  const headers = { Authorization: `Bearer ${token}` };
  const { status } = await fetch("/api/session", { method: "POST", headers, cache: "no-store" });
  return status === 204;
}
