/** Behaviours to be broken on purpose, one at a time, and the tests that must find each. */

export interface Mutant {
  /** What holds as long as nobody breaks it. */
  readonly behaviour: string;
  /** From the repository's root. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly code: string;
  readonly broken: string;
  /** A test file of which at least one test must fail then. */
  readonly test: string;
}

const core = "packages/core";

export const mutants: readonly Mutant[] = [
  {
    behaviour: "a task that its owner took back is not run by the worker that still has its message",
    file: `${core}/src/owner/claims.ts`,
    code: "return Atomics.compareExchange(this.words, slot, pending, word(sequence, STARTED)) === pending;",
    broken: "return Atomics.exchange(this.words, slot, word(sequence, STARTED)) !== 0;",
    test: `${core}/src/owner/claims.test.ts`,
  },
  {
    behaviour: "memory of an object that was freed is not used again while somebody reads it",
    file: `${core}/src/store/engine.ts`,
    code: "if (!object.freed || object.pins.size > 0 || object.moving) return;",
    broken: "if (!object.freed || object.moving) return;",
    test: `${core}/src/store/engine.test.ts`,
  },
  {
    behaviour: "what a program writes into a value that it got changes nothing that is stored",
    file: `${core}/src/store/memory.ts`,
    code: "return map(0, length, MAP_PRIVATE | MAP_NORESERVE, fd, offset);",
    broken: "return map(0, length, MAP_SHARED | MAP_NORESERVE, fd, offset);",
    test: `${core}/test/memory/views.test.ts`,
  },
  {
    behaviour: "an object that was spilled comes back with the bytes it had",
    file: `${core}/src/store/spill-disk.ts`,
    code: "await entry.file.read(chunk, slot.offset + done);",
    broken: "await entry.file.read(chunk, done);",
    test: `${core}/test/memory/pressure.test.ts`,
  },
  {
    behaviour: "a task that waits gives its CPU back",
    file: `${core}/src/worker/waits.ts`,
    code: "if (this.isCheckScheduled) return;",
    broken: "if (this.isCheckScheduled || this.nextId > 0) return;",
    test: `${core}/test/tasks/waiting.test.ts`,
  },
  {
    behaviour: "the calls of one caller run in the order in which they were made",
    file: `${core}/src/worker/hosted-actor.ts`,
    code: "if (this.calls) this.calls.push(call);",
    broken: "if (this.calls) this.calls.splice(this.head, 0, call);",
    test: `${core}/test/actors/calls.test.ts`,
  },
  {
    behaviour: "actors that wait for each other in a cycle are told",
    file: `${core}/src/control/deadlock.ts`,
    code: "return party && party.executions.size >= party.slots ? [...party.executions.values()] : [];",
    broken: "return party && party.executions.size > party.slots ? [...party.executions.values()] : [];",
    test: `${core}/src/control/deadlock.test.ts`,
  },
  {
    behaviour: "nobody hears of a named actor before it is recorded",
    file: `${core}/src/control/actors.ts`,
    code: 'setPhase(actor, "saving");',
    broken: 'setPhase(actor, "saving");\n    subscribers.tellAll(actor);',
    test: `${core}/src/control/actors.test.ts`,
  },
  {
    behaviour: "what a value took over when its holder let go is not forgotten",
    file: `${core}/src/control/holds.ts`,
    code: "if (entry.holders > 0 || entry.pins > 0) continue;",
    broken: "if (entry.holders > 0) continue;",
    test: `${core}/src/control/holds.test.ts`,
  },
  {
    behaviour: "drivers that wait share the CPUs, whatever each has queued",
    file: `${core}/src/scheduler/fairness.ts`,
    code: "if (jobA !== jobB) return standing(jobA) - standing(jobB) || jobA.order - jobB.order;",
    broken: "if (jobA !== jobB) return jobA.order - jobB.order;",
    test: `${core}/src/scheduler/lease-engine.test.ts`,
  },
  {
    behaviour: "a task is tried again maxRetries times, and no more",
    file: `${core}/src/owner/tasks.ts`,
    code: "return max < 0 || task.failures < max;",
    broken: "return max < 0 || task.failures <= max;",
    test: `${core}/src/owner/tasks.test.ts`,
  },
  {
    behaviour: "a producer is at most its buffer and one item ahead of its consumer",
    file: `${core}/src/worker/producer.ts`,
    code: "while (count - this.consumed > this.bufferItems && !this.running.cancelled) {",
    broken: "while (count - this.consumed > 1_000_000 && !this.running.cancelled) {",
    test: `${core}/test/tasks/streams.test.ts`,
  },
  {
    behaviour: "a cancel ends a synchronous loop, and the process lives on",
    file: `${core}/src/worker/guard.ts`,
    code: "if (isInside) return guardedInside(claims, key, fn);",
    broken: "if (isInside) return fn();",
    test: `${core}/test/tasks/cancel.test.ts`,
  },
  {
    behaviour: "a function and the arguments of its call share the variables that both captured",
    file: `${core}/src/client/values.ts`,
    code: "return [...objects, ...shared];",
    broken: "return shared.slice(shared.length);",
    test: `${core}/test/tasks/values.test.ts`,
  },
  {
    behaviour: "what a dead run left is swept by the next, and what a living one has is not",
    file: `${core}/src/node/session-folder.ts`,
    code: "if (!(await isDead(path))) continue;",
    broken: "await isDead(path);",
    test: `${core}/src/node/node-units.test.ts`,
  },
  {
    behaviour: "what waits for its environment takes no room from what can run",
    file: `${core}/src/scheduler/grant-pass.ts`,
    code: "if ((pools.length === 0 || able.length > 0) && !environments.isReady(ask)) {",
    broken: "if (environments === undefined) {",
    test: `${core}/src/scheduler/environments.test.ts`,
  },
  {
    behaviour: "an environment that a living process uses is not thrown away",
    file: `${core}/src/environments/folders.ts`,
    code: "if (this.isUsed(name) && existsSync(away)) {",
    broken: 'if (name === "") {',
    test: `${core}/src/environments/folders.test.ts`,
  },
];
