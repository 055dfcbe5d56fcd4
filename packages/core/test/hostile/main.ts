/**
 * `npm run hostile -- [--full] [--seed N]`: hostile frames at every kind of listener, 10,000 each, or 100,000.
 * Prints what was sent, how slow the slowest trip of a client that behaves was, and what is left behind.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { attack } from "./attack.ts";
import { Client, type Holdings, Listeners } from "./listeners.ts";

const { values } = parseArgs({ options: { full: { type: "boolean" }, seed: { type: "string" } } });
const frames = values.full ? 100_000 : 10_000;
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
const folder = mkdtempSync(join(tmpdir(), "mobula-hostile-"));
const listeners = await Listeners.start(folder);
console.log(`seed ${seed}`);
let isHarmed = false;

/** The listeners keep a session for 500 ms without a connection. */
async function settled(): Promise<Holdings> {
  let now = await listeners.holdings();
  for (let tries = 0; tries < 100 && now.known > 1; tries++) {
    await delay(50);
    now = await listeners.holdings();
  }
  return now;
}

for (const kind of ["tcp", "unix"] as const) {
  const client = await Client.join(listeners, kind);
  await attack(listeners, { kind, frames: 2_000, seed: 1, client });
  const before = await settled();
  client.slowestMs = 0;
  const began = performance.now();
  const outcome = await attack(listeners, { kind, frames, seed, client });
  const seconds = (performance.now() - began) / 1_000;
  const { lagMs } = await listeners.holdings();
  const after = await settled();
  client.leave();
  const grown = after.heapBytes - before.heapBytes;
  console.log(`\n${kind}: ${outcome.frames} frames on ${outcome.connections} connections in ${seconds.toFixed(1)} s`);
  for (const [way, number] of Object.entries(outcome.byWay).sort())
    console.log(`  ${String(number).padStart(7)}  ${way}`);
  console.log(
    `  slowest of ${client.trips} trips of a client that behaves: ${client.slowestMs.toFixed(1)} ms; longest turn of the listener's loop: ${lagMs.toFixed(1)} ms`,
  );
  console.log(
    `  descriptors ${before.fds} -> ${after.fds}, sessions left ${after.known - 1}, failures of handlers ${after.failures}`,
  );
  console.log(
    `  heap ${(grown / 1e3).toFixed(0)} kB more, resident ${((after.rssBytes - before.rssBytes) / 1e6).toFixed(1)} MB more`,
  );
  if (after.fds > before.fds || after.known > 1 || grown > 5_000_000) isHarmed = true;
}
await listeners.stop();
rmSync(folder, { recursive: true, force: true });
console.log(isHarmed ? "\nharmed" : "\nunharmed");
process.exitCode = isHarmed ? 1 : 0;
