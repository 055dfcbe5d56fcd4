/**
 * Each program raises its alarm within a stated time: in the overview, as an event, and in `why`; a healthy one raises none.
 * Nearly all of that time is waiting, so they wait beside each other. They begin one after another, the longest first, and last
 * those that take all the processor that they get.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, expect, test, vi } from "vitest";
import { type EventRow, endAll, Program } from "./program.ts";

interface Expected {
  readonly kind: string;
  /** From the start of the program: twice what it takes on a machine that is busy with other things too. */
  readonly withinMs: number;
  readonly message: RegExp;
  readonly remedy: RegExp;
}

vi.setConfig({ maxConcurrency: 20 });
afterAll(endAll);

const EXPECTED: Readonly<Record<string, Expected>> = {
  "leaking-refs.ts": {
    ...{ kind: "leaking-refs", withinMs: 150_000, remedy: /keeps their refs/ },
    message: /objects made at .*leaking-refs\.ts:\d+, owned by process \d+ have grown from \d+ to \d+ .* in \d+ s/,
  },
  "starved-demand.ts": {
    ...{ kind: "starved-demand", withinMs: 120_000, remedy: /priority/ },
    message: /task large wants \{ cpu: 2 \} and none of it has run for \d+ s, while \d+ other tasks have ended/,
  },
  "closure-bloat.ts": {
    ...{ kind: "closure-bloat", withinMs: 80_000, remedy: /put\(\) the large value once/ },
    message: /function lookUp was packed anew \d+ times in \d+ s, each time with 1\.\d MiB/,
  },
  "spill-storm.ts": {
    ...{ kind: "spill-storm", withinMs: 120_000, remedy: /pieces that fit/ },
    message: /\(32 MiB\) has written .* a second to disk and read [\d.]+ MiB a second back .*spill-storm\.ts:\d+/,
  },
  "actor-backlog.ts": {
    ...{ kind: "actor-backlog", withinMs: 120_000, remedy: /ActorPool/ },
    message:
      /actor Counter \([0-9a-f]{32}\) has [\d,]+ calls that have not begun, and it ends [\d.]+ a second: .* waits \d+ s/,
  },
  "stragglers.ts": {
    ...{ kind: "straggler", withinMs: 80_000, remedy: /timeoutMs/ },
    message:
      /task parse \([0-9a-f]{48}\) runs for \d+ s in process \d+; 95 of 100 of the 100 before it took less than \d+ ms/,
  },
  "skewed-nodes.ts": {
    ...{ kind: "skewed-nodes", withinMs: 80_000, remedy: /soft: true/ },
    message: /node a has 100 % of its 2 CPUs in use.* work \(\d+ asked for\) waits; .* b 0 % of 2/,
  },
  "store-pressure.ts": {
    ...{ kind: "store-pressure", withinMs: 40_000, remedy: /let go of refs/ },
    message: /the object store of node .* is full to 9\d % \(\d+ MiB of 64 MiB\).*store-pressure\.ts:\d+/,
  },
  "deadlocked-waits.ts": {
    ...{ kind: "deadlock", withinMs: 60_000, remedy: /numCpus: 0/ },
    message:
      /task pageOf \(6 asked for\) waits for 1 cpu, and all 2 .* actor Report \([0-9a-f]{32}\) has 1 and actor Report/,
  },
  "group-deadlock.ts": {
    ...{ kind: "deadlock", withinMs: 60_000, remedy: /one placementGroup\(\)/ },
    message:
      /placement group \([0-9a-f]{32}\) waits for 2 cpu, and all 4 .* placement group \([0-9a-f]{32}\) has 2 for actor Training/,
  },
  "infeasible-demand.ts": {
    ...{ kind: "infeasible-demand", withinMs: 20_000, remedy: /ask for less/ },
    message: /task train wants \{ cpu: 1, gpu: 1 \}, and no node can ever give that/,
  },
  "hot-call-site.ts": {
    ...{ kind: "hot-call-site", withinMs: 120_000, remedy: /batch them/ },
    message: /task square ends [\d,]+ times a second and runs \d+ µs each time/,
  },
  "hot-puts.ts": {
    ...{ kind: "hot-call-site", withinMs: 120_000, remedy: /pass small values as they are/ },
    message: /put\(\) at .*hot-puts\.ts:\d+ is called [\d,]+ times a second with \d+ bytes each/,
  },
  "overloaded-node.ts": {
    ...{ kind: "overloaded-node", withinMs: 100_000, remedy: /numCpus: 1/ },
    message:
      /on node a [\d.,]+ processes want to compute \(\d+ × simulate\), .* others have hardly anything to do: b 0\.\d of/,
  },
};

test("there is a program for each kind of alarm", () => {
  const programs = readdirSync(join(import.meta.dirname, "..")).filter((name) => /\.ts$/.test(name));
  expect(programs.sort()).toEqual([...Object.keys(EXPECTED), "healthy.ts"].sort());
});

/** Longer than any detector looks back, but for leaks; those are `npm run soak -- --alarms`'s to see. */
const HEALTHY_MS = 45_000;

test.concurrent("healthy.ts raises none", async () => {
  await using program = await Program.start("healthy.ts");
  const end = performance.now() + HEALTHY_MS;
  while (performance.now() < end) {
    expect(await program.alerts()).toEqual([]);
    await delay(1_000);
  }
}, 240_000);

test.concurrent.each(Object.entries(EXPECTED))(
  "%s",
  async (name, { kind, withinMs, message, remedy }) => {
    await using program = await Program.start(name);
    const alarm = await program.alarm(kind, withinMs);
    expect(alarm.message).toMatch(message);
    expect(alarm.remedy).toMatch(remedy);
    const { rows } = await program.get<{ readonly rows: readonly EventRow[] }>(`events?filter=kind=${kind}`);
    expect(rows.at(-1)).toMatchObject({ severity: alarm.severity, kind, subjects: alarm.subjects });
    for (const subject of alarm.subjects.filter((one) => !/^[0-9a-f]{8}$/.test(one)).slice(0, 2)) {
      const { sentences } = await program.get<{ readonly sentences: readonly string[] }>(
        `why/${encodeURIComponent(subject)}`,
      );
      expect(sentences.join("\n"), subject).toMatch(message);
      expect(sentences.join("\n"), subject).toMatch(remedy);
    }
  },
  240_000,
);
