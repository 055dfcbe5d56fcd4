/**
 * Finds waits that can never end, because those they wait for wait for them.
 *
 * 1. What waits are executions of tasks and of calls; each belongs to a *party* ("task:<key>", "actor:<id>"), which may have so
 *    many at once. A wait needs all it waits `on`, so it is stuck as soon as one of them is. An execution is stuck when all its
 *    waits are. What has no wait reported is running, or will.
 * 2. Who waits for a call that is under way waits for that execution; who waits for one that is queued, for the actor: it is
 *    stuck when as many of its executions are as it may have, since nothing else that it has to do can run then.
 * 3. The stuck ones are the greatest set for which 1 and 2 hold. Only a new wait can make one, or the end of another wait of
 *    an execution, so only what can be reached from there is looked at; and that wait is the one to be rejected: that ends
 *    the cycle, and the others go on.
 * 4. What was reported may be over: the report of a wait's end, or the answer that ends it, is still under way, for long if a
 *    link is cut. So before a wait is rejected, all processes of stuck ones are asked again: does this wait still last, and is
 *    the call queued that it waits for? What all say after the first question was asked was so at that moment, everywhere at
 *    once. If something has changed, what is left of it is looked at again later.
 */
import type { ObjectKey, ProcessId } from "../base/mod.ts";
import type { Deadlock, ReportedWait, WaitCheck, WaitChecked, WaitReport } from "../wire/messages.ts";

interface Wait {
  readonly process: ProcessId;
  readonly waitId: number;
  readonly execution: Execution;
  readonly name: string;
  on: readonly string[];
  /** For each of `on` the call that is waited for, if it is an actor; undefined from processes that are not asked again. */
  calls: readonly string[] | undefined;
}

interface Execution {
  readonly key: string;
  readonly party: Party;
  /** What it executes, if that is a call. */
  readonly call: string | undefined;
  readonly waits: Set<Wait>;
}

interface Party {
  readonly id: string;
  readonly slots: number;
  readonly executions: Map<string, Execution>;
}

/** What was asked before a wait is rejected. */
interface Check {
  readonly checkId: number;
  readonly wait: Wait;
  readonly awaited: Set<ProcessId>;
  /** What has been answered: waits that last, and calls that are queued. */
  readonly waits: Set<Wait>;
  readonly calls: Set<string>;
}

/** Whether a wait is for what it is said to be for at this place of its `on`. */
type Known = (wait: Wait, at: number) => boolean;
const asReported: Known = () => true;

export interface DeadlockFinder {
  report(from: ProcessId, report: Pick<WaitReport, "started" | "ended" | "isAll">): void;
  checked(from: ProcessId, answer: WaitChecked): void;
  processGone(process: ProcessId): void;
  /** Looks again at what was not as it had been reported. */
  tick(): void;
  /** What `by` waits for now, for explanations: names and what they wait on. */
  waitsOf(by: string): readonly { readonly name: string; readonly on: readonly string[] }[];
  size(): number;
}

export interface DeadlockEffects {
  /** To a process that has reported waits. */
  send(to: ProcessId, message: WaitCheck | Deadlock): void;
  /** A party by the id that counts, if it is an actor. */
  canonical(party: string): string;
}

export function createDeadlockFinder({ send, canonical }: DeadlockEffects): DeadlockFinder {
  const parties = new Map<string, Party>();
  const byProcess = new Map<ProcessId, Map<number, Wait>>();
  const byCall = new Map<string, Execution>();
  /** How many waits are for a party. */
  const waitedFor = new Map<string, number>();
  const checks = new Map<number, Check>();
  /** Waits that have closed a cycle, and are not rejected yet. */
  const suspects = new Set<Wait>();
  let nextCheckId = 1;

  // ── what waits ─────────────────────────────────────────────────────────────────────────────────────────────────────

  function count(on: readonly string[], change: 1 | -1): void {
    for (const id of on) {
      const waits = (waitedFor.get(id) ?? 0) + change;
      if (waits > 0) waitedFor.set(id, waits);
      else waitedFor.delete(id);
    }
  }

  function executionOf(process: ProcessId, one: ReportedWait): Execution {
    const id = canonical(one.by);
    let party = parties.get(id);
    if (!party) {
      party = { id, slots: one.slots, executions: new Map() };
      parties.set(id, party);
    }
    // Of processes that do not say which: one for each wait.
    const key = `${process}/${one.execution ?? `wait ${one.waitId}`}`;
    let execution = party.executions.get(key);
    if (!execution) {
      execution = { key, party, call: one.executes, waits: new Set() };
      party.executions.set(key, execution);
      if (one.executes !== undefined) byCall.set(one.executes, execution);
    }
    return execution;
  }

  function add(process: ProcessId, one: ReportedWait): Wait {
    const { waitId, name } = one;
    const execution = executionOf(process, one);
    const calls = one.execution === undefined ? undefined : (one.calls ?? []);
    const wait: Wait = { process, waitId, execution, name, on: one.on.map(canonical), calls };
    execution.waits.add(wait);
    count(wait.on, 1);
    let waits = byProcess.get(process);
    if (!waits) {
      waits = new Map();
      byProcess.set(process, waits);
    }
    waits.set(waitId, wait);
    return wait;
  }

  function remove(wait: Wait): void {
    const { process, waitId, execution } = wait;
    suspects.delete(wait);
    count(wait.on, -1);
    const waits = byProcess.get(process);
    waits?.delete(waitId);
    if (waits?.size === 0) byProcess.delete(process);
    execution.waits.delete(wait);
    if (execution.waits.size > 0) return;
    const { key, call, party } = execution;
    party.executions.delete(key);
    if (party.executions.size === 0) parties.delete(party.id);
    if (call !== undefined && byCall.get(call) === execution) byCall.delete(call);
  }

  /** Takes in what a process says of a wait; undefined when that is nothing new. */
  function take(from: ProcessId, one: ReportedWait): Wait | undefined {
    const wait = byProcess.get(from)?.get(one.waitId);
    if (!wait) return add(from, one);
    const on = one.on.map(canonical);
    if (isEqual(wait.on, on) && isEqual(wait.calls ?? [], one.calls ?? [])) return undefined;
    count(wait.on, -1);
    count(on, 1);
    wait.on = on;
    if (wait.calls) wait.calls = one.calls ?? [];
    return wait;
  }

  function end(wait: Wait | undefined): void {
    if (!wait) return;
    remove(wait);
    const [other] = wait.execution.waits;
    if (other) lookAt(other);
  }

  // ── what is stuck ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** What it waits for there, as far as that waits too: one execution, or so many of an actor's that no other can begin. */
  function blockers(wait: Wait, at: number): readonly Execution[] {
    const execution = byCall.get(wait.calls?.[at] || "");
    if (execution) return [execution];
    const party = parties.get(wait.on[at] ?? "");
    return party && party.executions.size >= party.slots ? [...party.executions.values()] : [];
  }

  /** The stuck ones among what can be reached from an execution. */
  function stuckFrom(start: Execution, isSo: Known): ReadonlySet<Execution> {
    const stuck = new Set<Execution>();
    const toVisit = [start];
    for (let one = toVisit.pop(); one; one = toVisit.pop()) {
      if (stuck.has(one)) continue;
      stuck.add(one);
      for (const wait of one.waits) for (const at of wait.on.keys()) toVisit.push(...blockers(wait, at));
    }
    const isStuck = (wait: Wait): boolean =>
      wait.on.some((_on, at) => {
        const all = blockers(wait, at);
        // One that is under way is stuck itself; of those before a queued one, so many as there is room for.
        const needed = isUnderWay(wait, at) ? 1 : (all[0]?.party.slots ?? 1);
        return isSo(wait, at) && all.filter((one) => stuck.has(one)).length >= needed;
      });
    for (let isShrinking = true; isShrinking; ) {
      isShrinking = false;
      // What others wait for was mostly found after them: a chain is gone through once.
      for (const one of [...stuck].reverse()) {
        if ([...one.waits].every(isStuck)) continue;
        stuck.delete(one);
        isShrinking = true;
      }
    }
    return stuck;
  }

  const isUnderWay = (wait: Wait, at: number): boolean => byCall.has(wait.calls?.[at] || "");

  /** The names along a way through stuck waits from `wait` back to the execution that waits there. */
  function cycleFrom(wait: Wait, isSo: Known): readonly string[] | undefined {
    const stuck = stuckFrom(wait.execution, isSo);
    if (!stuck.has(wait.execution)) return undefined;
    const cameFrom = new Map<Execution, Wait>();
    const queue: Wait[] = [wait];
    for (const current of queue) {
      for (const at of current.on.keys()) {
        if (!isSo(current, at)) continue;
        for (const next of blockers(current, at)) {
          if (!stuck.has(next) || cameFrom.has(next)) continue;
          cameFrom.set(next, current);
          if (next === wait.execution) {
            const names = [wait.name];
            for (let back: Wait | undefined = current; back && back !== wait; back = cameFrom.get(back.execution))
              names.unshift(back.name);
            return [wait.name, ...names];
          }
          queue.push(...next.waits);
        }
      }
    }
    return undefined;
  }

  // ── asking again ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** A wait is new, or waits for something else, or is what its execution still waits for. */
  function lookAt(wait: Wait): void {
    if ([...checks.values()].some((check) => check.wait === wait)) return;
    // Most are at the end of a chain: nobody waits for them.
    if (waitedFor.has(wait.execution.party.id) && cycleFrom(wait, asReported)) ask(wait);
    else suspects.delete(wait);
  }

  function ask(wait: Wait): void {
    suspects.add(wait);
    const questions = new Map<ProcessId, { readonly waits: number[]; readonly calls: Set<string> }>();
    const question = (process: ProcessId) => {
      const known = questions.get(process) ?? { waits: [], calls: new Set() };
      questions.set(process, known);
      return known;
    };
    for (const { waits } of stuckFrom(wait.execution, asReported)) {
      for (const one of waits) {
        // Others have said all that they can say.
        if (!one.calls) continue;
        question(one.process).waits.push(one.waitId);
        for (const at of one.on.keys()) {
          const call = one.calls[at];
          if (!call || isUnderWay(one, at)) continue;
          for (const host of hostsOf(one, at)) question(host).calls.add(call);
        }
      }
    }
    const checkId = nextCheckId++;
    const check: Check = { checkId, wait, awaited: new Set(questions.keys()), waits: new Set(), calls: new Set() };
    checks.set(checkId, check);
    for (const [process, { waits, calls }] of questions)
      send(process, { t: "wait-check", checkId, waits, calls: [...calls] as ObjectKey[] });
    if (check.awaited.size === 0) conclude(check);
  }

  /** Processes of the actor that can say which calls they have. */
  function hostsOf(wait: Wait, at: number): ReadonlySet<ProcessId> {
    const hosts = new Set<ProcessId>();
    for (const { waits } of blockers(wait, at)) for (const { process, calls } of waits) if (calls) hosts.add(process);
    return hosts;
  }

  /** All have answered that are there. */
  function conclude({ checkId, wait, waits, calls }: Check): void {
    checks.delete(checkId);
    if (!suspects.has(wait)) return;
    const isSo: Known = (one, at) => {
      if (!one.calls) return true;
      if (!waits.has(one)) return false;
      const call = one.calls[at];
      return !call || isUnderWay(one, at) || calls.has(call) || hostsOf(one, at).size === 0;
    };
    const cycle = cycleFrom(wait, isSo);
    if (!cycle) return;
    // All waits of its execution are rejected, so they count no longer: what they closed is open again.
    for (const one of [...wait.execution.waits]) remove(one);
    send(wait.process, { t: "deadlock", waitId: wait.waitId, cycle: cycle.join(" waits for ") });
  }

  /** It does not answer any more. */
  function unasked(process: ProcessId): void {
    for (const check of [...checks.values()]) {
      if (check.awaited.delete(process) && check.awaited.size === 0) conclude(check);
    }
  }

  return {
    report(from, { started, ended, isAll }) {
      if (isAll) {
        const still = new Set(started.map(({ waitId }) => waitId));
        for (const wait of [...(byProcess.get(from)?.values() ?? [])]) if (!still.has(wait.waitId)) end(wait);
      }
      for (const waitId of ended) end(byProcess.get(from)?.get(waitId));
      for (const one of started) {
        const changed = take(from, one);
        if (changed) lookAt(changed);
      }
      // What it was asked may have been lost together with what it had said.
      if (isAll) unasked(from);
    },

    checked(from, { checkId, waits, calls }) {
      const check = checks.get(checkId);
      if (!check?.awaited.delete(from)) return;
      for (const one of waits) {
        const wait = byProcess.get(from)?.get(one.waitId);
        if (!wait) continue;
        take(from, one);
        check.waits.add(wait);
      }
      for (const call of calls) check.calls.add(call);
      if (check.awaited.size === 0) conclude(check);
    },

    processGone(process) {
      for (const wait of [...(byProcess.get(process)?.values() ?? [])]) remove(wait);
      unasked(process);
    },

    tick() {
      for (const wait of [...suspects]) lookAt(wait);
    },

    waitsOf: (by) =>
      [...(parties.get(by)?.executions.values() ?? [])].flatMap(({ waits }) =>
        [...waits].map(({ name, on }) => ({ name, on })),
      ),

    size: () => [...byProcess.values()].reduce((sum, waits) => sum + waits.size, 0),
  };
}

const isEqual = (some: readonly string[], others: readonly string[]): boolean =>
  some.length === others.length && some.every((one, at) => one === others[at]);
