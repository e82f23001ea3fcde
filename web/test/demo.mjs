// The server with a made-up agent (`web-demo` of memmon-tests).
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { once } from "node:events";

/** A port that was free a moment ago. */
export async function freePort() {
  const probe = createServer();
  probe.listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

export class Demo {
  constructor({ server, dist, port, more = [] }) {
    this.url = `http://127.0.0.1:${port}/`;
    this.command = [server, ["--listen", `127.0.0.1:${port}`, "--dist", dist, ...more]];
  }

  async start(scene = "calm") {
    const [program, words] = this.command;
    this.child = spawn(program, [...words, "--scene", scene], { stdio: ["pipe", "pipe", "inherit"] });
    this.ended = once(this.child, "exit");
    let said = "";
    for await (const part of this.child.stdout) {
      said += part;
      if (said.includes("\n")) break;
    }
    if (!said.startsWith("http://")) throw new Error(`the server said ${JSON.stringify(said)}`);
  }

  order(scene) {
    this.child.stdin.write(`${scene}\n`);
  }

  async kill() {
    if (!this.child || this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill("SIGKILL");
    await this.ended;
  }
}
