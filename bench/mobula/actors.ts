import assert from "node:assert/strict";
import { type ActorHandle, get, kill, type ObjectRef, put, remote } from "mobula";
import { assertExecutions } from "../harness/evidence.ts";
import type { Measurement, Workload } from "../harness/protocol.ts";
import { nowSeconds, repeat } from "../harness/timing.ts";
import { runOnce } from "./tasks.ts";

/** Counts its calls, so that after a run its number must be the number of calls made. */
class Counter {
  #calls = 0;

  call(): number {
    this.#calls += 1;
    return this.#calls;
  }

  callWith(_value: number): number {
    return this.call();
  }

  pid(): number {
    return process.pid;
  }

  total(): number {
    return this.#calls;
  }
}

class AsyncCounter {
  #calls = 0;

  async call(): Promise<number> {
    this.#calls += 1;
    return this.#calls;
  }

  async total(): Promise<number> {
    return this.#calls;
  }
}

const RemoteCounter = remote(Counter);
const RemoteAsyncCounter = remote(AsyncCounter);

/** What the call workloads need of an actor, whichever class it has. */
interface CallableActor {
  call(): ObjectRef<number>;
  total(): ObjectRef<number>;
}

const counterActor =
  (maxConcurrency = 1) =>
  (): CallableActor => {
    const handle = RemoteCounter.options({ maxConcurrency }).remote();
    return { call: () => handle.call.remote(), total: () => handle.total.remote() };
  };

/** An asynchronous actor in Ray overlaps a thousand calls unless told otherwise, so this one may too. */
const asyncActor = (): CallableActor => {
  const handle = RemoteAsyncCounter.options({ maxConcurrency: 1000 }).remote();
  return { call: () => handle.call.remote(), total: () => handle.total.remote() };
};

const oneByOne = async (actor: CallableActor, count: number): Promise<number> => {
  let results = 0;
  for (; results < count; results += 1) await get(actor.call());
  return results;
};

const allAtOnce = async (actor: CallableActor, count: number): Promise<number> => {
  const results = await get(Array.from({ length: count }, () => actor.call()));
  return results.length;
};

const calls =
  (make: () => CallableActor, step: (actor: CallableActor, count: number) => Promise<number>): Workload =>
  async ({ seconds, count }) => {
    const actor = make();
    assert.equal(await get(actor.call()), 1);
    let made = 1;
    const outcome = await repeat(seconds, async () => {
      const results = await step(actor, count);
      made += results;
      return results;
    });
    assert.equal(await get(actor.total()), made);
    return outcome;
  };

const callInTurn = remote(async (actors: ActorHandle<Counter>[], count: number) => {
  const refs: ObjectRef<number>[] = [];
  while (refs.length < count) for (const actor of actors.slice(0, count - refs.length)) refs.push(actor.call.remote());
  return (await get(refs)).length;
});

class RefCaller {
  readonly #server: ActorHandle<Counter>;

  constructor(server: ActorHandle<Counter>) {
    this.#server = server;
  }

  async submit(count: number): Promise<number> {
    const ref = put(0);
    return (await get(Array.from({ length: count }, () => this.#server.callWith.remote(ref)))).length;
  }
}
const RemoteRefCaller = remote(RefCaller);

const CALLERS = 4;
/** As many as Ray's benchmark uses. */
const serversFor = (cpus: number): number => Math.max(1, Math.floor(cpus / 2));
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Repeats a step that makes calls elsewhere, and compares what the callers and the called counted. */
async function repeatRemotely(
  seconds: number,
  servers: readonly ActorHandle<Counter>[],
  step: () => Promise<number[]>,
): Promise<Measurement> {
  let made = 0;
  const outcome = await repeat(seconds, async () => {
    const results = sum(await step());
    made += results;
    return results;
  });
  assert.equal(sum(await get(servers.map((server) => server.total.remote()))), made);
  return outcome;
}

export const actorWorkloads: Record<string, Workload> = {
  "actor-sync": calls(counterActor(), oneByOne),
  "actor-async": calls(counterActor(), allAtOnce),
  "actor-concurrent": calls(counterActor(16), allAtOnce),
  "async-actor-sync": calls(asyncActor, oneByOne),
  "async-actor-async": calls(asyncActor, allAtOnce),

  async "actors-n-n"({ seconds, count }, { cpus }) {
    const servers = Array.from({ length: serversFor(cpus) }, () => RemoteCounter.remote());
    return repeatRemotely(seconds, servers, () =>
      get(Array.from({ length: CALLERS }, () => callInTurn.remote(servers, count))),
    );
  },

  async "actors-n-n-ref"({ seconds, count }, { cpus }) {
    const servers = Array.from({ length: serversFor(cpus) }, () => RemoteCounter.remote());
    const clients = servers.map((server) => RemoteRefCaller.remote(server));
    return repeatRemotely(seconds, servers, () => get(clients.map((client) => client.submit.remote(count))));
  },

  async "process-actors"({ count }) {
    assertExecutions(await get(Array.from({ length: 20 }, () => runOnce.remote())), 20);
    const start = nowSeconds();
    const actors = Array.from({ length: count }, () => RemoteCounter.options({ isolation: "process" }).remote());
    const first = await get(actors.map((actor) => actor.call.remote()));
    const seconds = nowSeconds() - start;
    assert.ok(first.every((calls) => calls === 1));
    assert.equal(new Set(await get(actors.map((actor) => actor.pid.remote()))).size, count);
    return { seconds, count, bytes: 0, cleanup: () => killAll(actors) };
  },

  async "shared-actors"({ count }) {
    assertExecutions(await get(Array.from({ length: 20 }, () => runOnce.remote())), 20);
    const start = nowSeconds();
    const actors = Array.from({ length: count }, () => RemoteCounter.options({ isolation: "shared" }).remote());
    const first = await get(actors.map((actor) => actor.call.remote()));
    const seconds = nowSeconds() - start;
    assert.ok(first.every((calls) => calls === 1));
    return { seconds, count, bytes: 0, cleanup: () => killAll(actors) };
  },

  async idle({ count }) {
    const start = nowSeconds();
    const stamps = await get(Array.from({ length: count }, () => runOnce.remote()));
    assertExecutions(stamps, count);
    return { seconds: nowSeconds() - start, count, bytes: 0 };
  },
};

async function killAll(actors: readonly ActorHandle<Counter>[]): Promise<void> {
  await Promise.all(actors.map((actor) => kill(actor)));
}
