/**
 * Actors that call each other at random, on a network that delays everything as it likes but keeps the order of each way.
 * What the finder rejects must be stuck for ever, and in the end nothing may be.
 */
import { expect, test } from "vitest";
import type { ObjectKey, ProcessId } from "../base/mod.ts";
import type { ReportedWait } from "../wire/messages.ts";
import { createDeadlockFinder } from "./deadlock.ts";

const CASES = 600;
const STEPS_MAX = 5_000;

function createRandom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

interface Call {
  readonly key: string;
  readonly actor: Actor;
  readonly depth: number;
  /** Whom its answer is for. */
  readonly from: Actor | undefined;
  isAnswered: boolean;
  isDelivered: boolean;
}
interface Wait {
  readonly waitId: number;
  readonly calls: readonly Call[];
  isReported: boolean;
}
interface Execution {
  readonly call: Call;
  readonly number: number;
  stepsLeft: number;
  waits: Wait[];
}
interface Actor {
  readonly id: string;
  readonly process: ProcessId;
  readonly slots: number;
  readonly queue: Call[];
  readonly executions: Set<Execution>;
}

function run(seed: number): { rejected: number } {
  const random = createRandom(seed);
  const actors: Actor[] = Array.from({ length: 2 + random(4) }, (_, index) => ({
    ...{
      id: `actor:${index}`,
      process: `p${index}` as ProcessId,
      slots: 1 + random(2),
      queue: [],
      executions: new Set(),
    },
  }));
  /** Ways between actors, and between each and control. */
  const ways = new Map<string, (() => void)[]>();
  const say = (from: string, to: string, what: () => void): void => {
    const way = `${from}>${to}`;
    ways.set(way, [...(ways.get(way) ?? []), what]);
  };
  let [numbers, rejected, budget] = [0, 0, 12 + random(20)];
  const hidden = new Set<Wait>();
  const actorOf = (process: ProcessId): Actor => actors.find((one) => one.process === process) as Actor;
  const waitsOf = (actor: Actor): Wait[] => [...actor.executions].flatMap(({ waits }) => waits);

  /** By what everybody has and nobody else knows: the greatest set of executions that cannot go on. */
  const stuckOnes = (): ReadonlySet<Execution> => {
    const stuck = new Set(actors.flatMap(({ executions }) => [...executions]));
    const isStuckIn = ({ executions, slots }: Actor): boolean =>
      [...executions].filter((one) => stuck.has(one)).length >= slots;
    const never = (call: Call): boolean => {
      if (call.isAnswered) return false;
      const execution = [...call.actor.executions].find((one) => one.call === call);
      return execution ? stuck.has(execution) : isStuckIn(call.actor);
    };
    for (let isShrinking = true; isShrinking; ) {
      isShrinking = false;
      for (const one of stuck) {
        if (one.waits.length > 0 && one.waits.every((wait) => !hidden.has(wait) && wait.calls.some(never))) continue;
        stuck.delete(one);
        isShrinking = true;
      }
    }
    return stuck;
  };

  const described = (actor: Actor, { number, call }: Execution, wait: Wait): ReportedWait => {
    const left = wait.calls.filter(({ isDelivered }) => !isDelivered);
    return {
      ...{
        waitId: wait.waitId,
        by: actor.id,
        slots: actor.slots,
        name: call.key,
        execution: number,
        executes: call.key,
      },
      on: left.map((one) => one.actor.id),
      calls: left.map(({ key }) => key),
    };
  };
  const report = (actor: Actor, execution: Execution, wait: Wait): void => {
    wait.isReported = true;
    const started = [described(actor, execution, wait)];
    say(actor.process, "control", () => finder.report(actor.process, { started, ended: [] }));
  };
  const endWait = (actor: Actor, execution: Execution, wait: Wait): void => {
    execution.waits.splice(execution.waits.indexOf(wait), 1);
    if (!wait.isReported) return;
    say(actor.process, "control", () => finder.report(actor.process, { started: [], ended: [wait.waitId] }));
  };
  const answer = (actor: Actor, execution: Execution): void => {
    const { call } = execution;
    actor.executions.delete(execution);
    call.isAnswered = true;
    const to = call.from;
    if (to) say(actor.process, to.process, () => delivered(to, call));
  };
  const delivered = (to: Actor, call: Call): void => {
    call.isDelivered = true;
    for (const execution of to.executions) {
      for (const wait of [...execution.waits])
        if (wait.calls.every(({ isDelivered }) => isDelivered)) endWait(to, execution, wait);
    }
  };

  const finder = createDeadlockFinder({
    canonical: (party) => party,
    send(to, message) {
      const actor = actorOf(to);
      if (message.t === "deadlock") {
        const wait = waitsOf(actor).find(({ waitId }) => waitId === message.waitId);
        const execution = [...actor.executions].find(({ waits }) => wait && waits.includes(wait));
        if (!wait || !execution || !stuckOnes().has(execution))
          throw new Error(`seed ${seed}: ${message.cycle}, and that is no deadlock`);
        hidden.add(wait);
        rejected++;
      }
      say("control", to, () => {
        if (message.t === "deadlock") {
          const execution = [...actor.executions].find(({ waits }) =>
            waits.some((one) => one.waitId === message.waitId),
          );
          if (!execution) return;
          for (const wait of [...execution.waits]) endWait(actor, execution, wait);
          answer(actor, execution);
          return;
        }
        const waits: ReportedWait[] = [];
        for (const execution of actor.executions) {
          const news = execution.waits.filter(({ isReported }) => !isReported);
          const asked = execution.waits.filter(({ waitId }) => message.waits.includes(waitId));
          if (asked.length === 0) continue;
          for (const wait of news) report(actor, execution, wait);
          if (news.length === 0) waits.push(...asked.map((wait) => described(actor, execution, wait)));
        }
        const here = actor.queue.map(({ key }) => key);
        const calls = message.calls.filter((key) => here.includes(key)) as ObjectKey[];
        say(to, "control", () => finder.checked(to, { t: "wait-checked", checkId: message.checkId, waits, calls }));
      });
    },
  });

  const submit = (from: Actor | undefined, depth: number): Call => {
    const actor = actors[random(actors.length)] as Actor;
    const call: Call = { key: `call ${++numbers}`, actor, depth, from, isAnswered: false, isDelivered: false };
    budget--;
    say(from?.process ?? "driver", actor.process, () => void actor.queue.push(call));
    return call;
  };

  /** What could happen next, apart from messages that arrive. */
  const moves = (): (() => void)[] => {
    const all: (() => void)[] = [];
    for (const actor of actors) {
      if (actor.executions.size < actor.slots && actor.queue.length > 0)
        all.push(() => {
          const call = actor.queue.shift() as Call;
          actor.executions.add({ call, number: ++numbers, stepsLeft: random(3), waits: [] });
        });
      for (const execution of actor.executions) {
        for (const wait of execution.waits) if (!wait.isReported) all.push(() => report(actor, execution, wait));
        if (execution.waits.length > 0) continue;
        all.push(() => {
          if (execution.stepsLeft-- <= 0 || budget <= 0) {
            answer(actor, execution);
            return;
          }
          for (let waits = 1 + (random(4) === 0 ? 1 : 0); waits > 0; waits--) {
            const calls = Array.from({ length: 1 + random(2) }, () => submit(actor, execution.call.depth + 1));
            execution.waits.push({ waitId: ++numbers, calls, isReported: false });
          }
        });
      }
    }
    return all;
  };

  for (let roots = 2 + random(4); roots > 0; roots--) submit(undefined, 0);
  for (let step = 0; step < STEPS_MAX; step++) {
    const arriving = [...ways].filter(([, said]) => said.length > 0);
    const possible = moves();
    if (arriving.length + possible.length === 0) {
      finder.tick();
      if ([...ways.values()].every((said) => said.length === 0)) break;
      continue;
    }
    if (random(20) === 0) finder.tick();
    const chosen = random(arriving.length + possible.length);
    const [, said] = arriving[chosen] ?? [];
    if (said) said.shift()?.();
    else possible[chosen - arriving.length]?.();
  }
  const left = actors.filter(({ executions, queue }) => executions.size + queue.length > 0);
  if (left.length > 0) throw new Error(`seed ${seed}: ${left.map(({ id }) => id)} wait for ever`);
  if (finder.size() > 0) throw new Error(`seed ${seed}: waits are kept that have ended`);
  return { rejected };
}

test("only what is stuck for ever is rejected, and all of that", () => {
  let rejected = 0;
  for (let seed = 1; seed <= CASES; seed++) rejected += run(seed).rejected;
  expect(rejected).toBeGreaterThan(CASES / 10);
});
