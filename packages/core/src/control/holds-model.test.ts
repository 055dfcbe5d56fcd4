/**
 * Random processes that pass refs on over independent ordered connections, against a model that knows the truth: what
 * each process really holds. Messages to the node arrive in any order between processes, and in order within one.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ObjectKey, ProcessId } from "../base/mod.ts";
import type { ControlMessage } from "./interface.ts";
import { createHarness, keyOf, processId, stored } from "./testing.ts";

type Action =
  | { readonly kind: "make"; readonly by: number; readonly inside: number }
  | { readonly kind: "pass"; readonly from: number; readonly to: number; readonly which: number }
  | { readonly kind: "drop"; readonly by: number; readonly which: number }
  | { readonly kind: "read"; readonly by: number; readonly which: number }
  | { readonly kind: "deliver"; readonly of: number; readonly messages: number }
  | { readonly kind: "die"; readonly who: number };

const PROCESSES = 4;
const at = fc.nat({ max: PROCESSES - 1 });
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("make" as const), by: at, inside: fc.nat() }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("pass" as const), from: at, to: at, which: fc.nat() }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("drop" as const), by: at, which: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("read" as const), by: at, which: fc.nat() }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("deliver" as const), of: at, messages: fc.nat({ max: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("die" as const), who: at }) },
);

interface Process {
  readonly id: ProcessId;
  isAlive: boolean;
  /** Holds it was given and has not given back; a key is here while the process has a reference. */
  readonly given: Map<ObjectKey, number>;
  /** Keys it owns and has not unpublished. */
  readonly owned: Set<ObjectKey>;
  readonly outbox: ControlMessage[];
}

function runModel(actions: readonly Action[]): void {
  const harness = createHarness();
  const { control } = harness;
  const processes: Process[] = Array.from({ length: PROCESSES }, (_, index) => ({
    id: harness.join(`f${index}`),
    isAlive: true,
    given: new Map(),
    owned: new Set(),
    outbox: [],
  }));
  const byId = new Map(processes.map((process) => [process.id, process]));
  const nestedOf = new Map<ObjectKey, readonly ObjectKey[]>();
  const storeKeyOf = new Map<ObjectKey, number>();
  const freed = new Set<number>();
  let made = 0;

  const process = (index: number): Process => {
    const found = processes[index];
    if (found === undefined) throw new RangeError(`no process ${index}`);
    return found;
  };
  const referencesOf = (one: Process): ObjectKey[] => [...new Set([...one.owned, ...one.given.keys()])];
  const pick = (one: Process, which: number): ObjectKey | undefined => {
    const keys = referencesOf(one);
    return keys[which % Math.max(1, keys.length)];
  };
  const receive = (one: Process, key: ObjectKey): void => void one.given.set(key, (one.given.get(key) ?? 0) + 1);

  /** What is truly reachable: references of living processes, and what values reachable from there mention. */
  function reachable(): Set<ObjectKey> {
    const seen = new Set<ObjectKey>();
    const toVisit = processes.filter(({ isAlive }) => isAlive).flatMap(referencesOf);
    for (let key = toVisit.pop(); key !== undefined; key = toVisit.pop()) {
      if (seen.has(key)) continue;
      seen.add(key);
      toVisit.push(...(nestedOf.get(key) ?? []));
    }
    return seen;
  }

  function checkNothingHeldIsFreed(): void {
    for (const storeKey of harness.takeFreed()) {
      expect(freed.has(storeKey), `store key ${storeKey} is freed twice`).toBe(false);
      freed.add(storeKey);
    }
    for (const key of reachable()) {
      const storeKey = storeKeyOf.get(key);
      expect(storeKey !== undefined && freed.has(storeKey), `${key} is held and was freed`).toBe(false);
    }
  }

  function deliver(one: Process, count: number): void {
    for (const message of one.outbox.splice(0, count)) control.handle(one.id, message);
    // Answers arrive at once: the node grants what is nested in them in the same step.
    for (const receiver of processes) {
      for (const message of harness.takeSent(receiver.id)) {
        if (message.t !== "object-state" || !receiver.isAlive) continue;
        for (const nested of message.value.nested) receive(receiver, nested);
      }
    }
    checkNothingHeldIsFreed();
  }

  function letGo(one: Process, key: ObjectKey): void {
    const count = one.given.get(key);
    one.given.delete(key);
    if (count !== undefined) one.outbox.push({ t: "hold-release", holds: [[key, count]] });
    if (one.owned.delete(key)) one.outbox.push({ t: "object-unpublish", keys: [key] });
  }

  function die(one: Process): void {
    one.isAlive = false;
    // What it wrote before it died is still read.
    deliver(one, one.outbox.length);
    one.given.clear();
    one.owned.clear();
    control.processGone(one.id);
    checkNothingHeldIsFreed();
  }

  for (const step of actions) {
    switch (step.kind) {
      case "make": {
        const by = process(step.by);
        if (!by.isAlive) break;
        const inside = pick(by, step.inside);
        const nested = inside === undefined || step.inside % 3 === 0 ? [] : [inside];
        const key = keyOf(by.id, ++made);
        nestedOf.set(key, nested);
        storeKeyOf.set(key, made);
        by.owned.add(key);
        by.outbox.push({ t: "object-publish", objects: [{ key, value: stored(made, nested) }] });
        break;
      }
      case "pass": {
        const from = process(step.from);
        const to = process(step.to);
        const key = pick(from, step.which);
        if (key === undefined || from === to || !from.isAlive) break;
        from.outbox.push({ t: "hold-grant", to: to.id, keys: [key] });
        // The ref itself goes from process to process and may be there long before the grant is at the node.
        if (to.isAlive) receive(to, key);
        break;
      }
      case "drop": {
        const by = process(step.by);
        const key = pick(by, step.which);
        if (by.isAlive && key !== undefined) letGo(by, key);
        break;
      }
      case "read": {
        const by = process(step.by);
        const key = pick(by, step.which);
        if (by.isAlive && key !== undefined) by.outbox.push({ t: "object-subscribe", keys: [key] });
        break;
      }
      case "deliver":
        deliver(process(step.of), step.messages);
        break;
      case "die": {
        const who = process(step.who);
        if (who.isAlive) die(who);
        break;
      }
    }
  }

  // In the end everybody lets go of everything, again and again, since late answers bring new holds.
  for (
    let round = 0;
    round < 100 && processes.some((one) => one.outbox.length > 0 || referencesOf(one).length > 0);
    round++
  ) {
    for (const one of processes) {
      if (one.isAlive) for (const key of referencesOf(one)) letGo(one, key);
      deliver(one, one.outbox.length);
    }
  }
  expect([...storeKeyOf.values()].filter((key) => !freed.has(key))).toEqual([]);
  expect(control.stats().objects).toBe(0);
  expect(byId.size).toBe(PROCESSES);
}

describe("holds over independent connections", () => {
  test("never free what is held, and free everything in the end", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => runModel(actions)),
      { numRuns: 1_500 },
    );
  });

  test("the ids of processes and keys are made as in production", () => {
    expect(keyOf(processId("f0"), 35)).toBe("f00000000000000000000000.z");
  });
});
