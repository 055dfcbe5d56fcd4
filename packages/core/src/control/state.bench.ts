/**
 * Commits per second of each state store: `node state.bench.ts [seconds]`. Values of 200 bytes over 1,000 keys. All
 * servers run on this machine and share its disk, so it does not measure networks, and the servers of a real cluster
 * would each have a disk of their own.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monotonicMs } from "../base/mod.ts";
import { etcdServer, natsServer, startEtcd, startNats } from "./fixtures/servers.ts";
import { commit } from "./fixtures/suite.ts";
import type { StateStore } from "./kv.ts";
import { openLogState, openReplicatedLog, openSqliteState } from "./mod.ts";

const SECONDS = Number(process.argv[2] ?? 3);
const VALUE = new Uint8Array(200).fill(7);

async function measure(name: string, store: StateStore): Promise<void> {
  for (const inFlight of [1, 100, 1_000]) {
    const latencies: number[] = [];
    const startedMs = monotonicMs();
    const untilMs = startedMs + SECONDS * 1_000;
    let next = 0;
    await Promise.all(
      Array.from({ length: inFlight }, async () => {
        while (monotonicMs() < untilMs) {
          const sentMs = monotonicMs();
          const outcome = await commit(store, { key: `k${next++ % 1_000}`, value: VALUE });
          if (outcome.kind !== "committed") throw new Error(`${name}: ${JSON.stringify(outcome)}`);
          latencies.push(monotonicMs() - sentMs);
        }
      }),
    );
    const rate = latencies.length / ((monotonicMs() - startedMs) / 1_000);
    latencies.sort((a, b) => a - b);
    const at = (share: number): string => (latencies[Math.floor(share * (latencies.length - 1))] ?? 0).toFixed(1);
    console.log(
      `${name.padEnd(18)} ${String(inFlight).padStart(5)} in flight: ${rate.toFixed(0).padStart(7)} /s, ${at(0.5)} ms (p99 ${at(0.99)})`,
    );
  }
  await store.close();
}

const folder = mkdtempSync(join(tmpdir(), "mobula-bench-"));
try {
  await measure("SQLite", await openSqliteState({ path: join(folder, "state.db") }));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
for (const [scheme, program, start] of [
  ["nats", natsServer, startNats],
  ["etcd", etcdServer, startEtcd],
] as const) {
  if (program === undefined) {
    console.log(`${scheme} is not there: scripts/state-servers/build.sh builds it`);
    continue;
  }
  const servers = await start(3);
  try {
    const hosts = servers.addresses.map((address) => address.replace("http://", "")).join(",");
    await measure(`${scheme}, 3 servers`, await openLogState(await openReplicatedLog(`${scheme}://${hosts}/bench`)));
  } finally {
    await servers.stop();
  }
}
