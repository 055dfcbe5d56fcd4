/**
 * The same algorithm on all CPUs.
 *
 * 1. A task for each batch reads and shingles its files; signatures and shingles stay in the object store.
 * 2. Actors hold the buckets, each some of the bands; they view the signatures where they lie.
 * 3. The actors stream candidate pairs to the driver.
 * 4. Tasks compare the pairs exactly, viewing the shingles where they lie; the driver joins pairs to groups.
 *
 * Workers may die at any point. Tasks are run again by the runtime; actors are restarted by it, empty, and filled
 * again by {@link fill}.
 */
import {
  type ActorHandle,
  asCompleted,
  clusterResources,
  get,
  init,
  isError,
  listActors,
  type ObjectRef,
  progressBar,
  release,
  remote,
  shutdown,
} from "mobula";
import type { Outcome } from "./baseline.ts";
import { dealBands } from "./buckets.ts";
import { type Chaos, createChaos } from "./chaos.ts";
import { planComparisons } from "./comparisons.ts";
import { type Batch, type Listing, makeBatches } from "./files.ts";
import { makeGroups, type SimilarPair } from "./groups.ts";
import type { ShingleSets } from "./sketch.ts";
import { Buckets, comparePairs, sketchBatch } from "./tasks.ts";

const ACTORS = 2;
const RETRIES = 10;
/** How often an actor is filled again before something else must be wrong. */
const FILLS_MAX = 20;
const FILES_MAX = 2 ** 21;

export interface DistributedOutcome extends Outcome {
  /** How many the machine offers. */
  readonly cpus: number;
  /** From `init` until the first task could be submitted. */
  readonly startSeconds: number;
  readonly tasks: number;
  readonly actorCalls: number;
  /** Bytes that tasks and actors read in the object store where they lay. */
  readonly bytesViewed: number;
  readonly kills: Chaos["kills"];
}

export interface RunOptions {
  readonly threshold: number;
  /** What is killed meanwhile; the result must be the same. */
  readonly chaos?: Chaos | undefined;
  readonly withProgress: boolean;
}

/** Kills workers of tasks, and those in which the actors of this job live. */
export const killWorkers = (): Chaos => createChaos(bucketPids);

type BucketsHandle = ActorHandle<Buckets>;

interface Sketched {
  readonly batch: Batch;
  readonly signatures: ObjectRef<Int32Array>;
  readonly sets: ObjectRef<ShingleSets>;
}

interface Counters {
  tasks: number;
  actorCalls: number;
  bytesRead: number;
  bytesViewed: number;
  filesUnreadable: number;
}

export async function runDistributed(listing: Listing, options: RunOptions): Promise<DistributedOutcome> {
  const initAtMs = performance.now();
  const { dashboardUrl } = await init();
  if (options.withProgress && dashboardUrl !== undefined) console.error(`What runs now: ${dashboardUrl}`);
  try {
    const startedAtMs = performance.now();
    const result = await run(listing, options);
    const seconds = (performance.now() - startedAtMs) / 1000;
    const { cpu = 1 } = await clusterResources();
    return { ...result, cpus: cpu, seconds, startSeconds: (startedAtMs - initAtMs) / 1000 };
  } finally {
    await shutdown();
  }
}

async function run(
  listing: Listing,
  { threshold, chaos, withProgress }: RunOptions,
): Promise<Omit<DistributedOutcome, "cpus" | "seconds" | "startSeconds">> {
  const batches = makeBatches(listing.files);
  const counters: Counters = { tasks: 0, actorCalls: 0, bytesRead: 0, bytesViewed: 0, filesUnreadable: 0 };
  const RemoteBuckets = remote(Buckets, {
    maxRestarts: RETRIES,
    // Filling is idempotent, so a call that may have been lost is simply made again.
    methods: { add: { maxTaskRetries: RETRIES }, missing: { maxTaskRetries: RETRIES } },
  });
  const actors = dealBands(ACTORS).map((bands) => RemoteBuckets.remote(bands));

  const sketched = await sketchAll(listing.folder, batches, actors, counters, chaos, withProgress);
  const pairs = await collectCandidates(actors, sketched, counters, chaos);
  release(...sketched.map(({ signatures }) => signatures));
  for (const actor of actors) actor[Symbol.dispose]();
  const similar = await compareAll(sketched, pairs, threshold, counters, chaos, withProgress);
  release(...sketched.map(({ sets }) => sets));
  return {
    ...counters,
    groups: makeGroups(listing.files, similar),
    pairsCompared: pairs.length / 2,
    kills: chaos?.kills ?? { tasks: 0, actors: 0 },
  };
}

async function sketchAll(
  folder: string,
  batches: readonly Batch[],
  actors: readonly BucketsHandle[],
  counters: Counters,
  chaos: Chaos | undefined,
  withProgress: boolean,
): Promise<Sketched[]> {
  const sketch = remote(sketchBatch, { numReturns: 3, maxRetries: RETRIES });
  const byReport = new Map<ObjectRef, Sketched>();
  for (const batch of batches) {
    const [report, signatures, sets] = sketch.remote(folder, batch);
    byReport.set(report, { batch, signatures, sets });
  }
  const files = batches.reduce((sum, batch) => sum + batch.files.length, 0);
  using bar = withProgress ? progressBar(files, "reading files") : undefined;
  const reports = [...byReport.keys()] as ObjectRef<Awaited<ReturnType<typeof sketchBatch>>[0]>[];
  const adds: ObjectRef<number>[] = [];
  let done = 0;
  for await (const ref of asCompleted(reports)) {
    const report = await get(ref);
    const sketched = byReport.get(ref);
    release(ref);
    if (sketched !== undefined) adds.push(...actors.map((actor) => addTo(actor, sketched)));
    counters.tasks++;
    counters.bytesRead += report.bytesRead;
    counters.filesUnreadable += report.filesUnreadable;
    bar?.add(sketched?.batch.files.length);
    await chaos?.sketched(++done, batches.length, report.pid);
  }
  await countAdds(adds, counters);
  return [...byReport.values()];
}

function addTo(actor: BucketsHandle, { batch, signatures }: Sketched): ObjectRef<number> {
  return actor.add.remote(batch.index, batch.first, signatures);
}

/** Waits for all of them. One that was lost with its actor's process is found missing later, and made again. */
async function countAdds(adds: readonly ObjectRef<number>[], counters: Counters): Promise<void> {
  for await (const ref of asCompleted(adds)) {
    try {
      counters.bytesViewed += await get(ref);
    } catch (error) {
      if (!isLost(error)) throw error;
    }
    counters.actorCalls++;
    release(ref);
  }
}

function isLost(error: unknown): boolean {
  return isError(error, "ACTOR_UNAVAILABLE") || isError(error, "WORKER_DIED");
}

/** All pairs that any actor has, each once, as numbers of files in turn. */
async function collectCandidates(
  actors: readonly BucketsHandle[],
  sketched: readonly Sketched[],
  counters: Counters,
  chaos: Chaos | undefined,
): Promise<Uint32Array> {
  const keys = new Set<number>();
  const collectFrom = async (actor: BucketsHandle) => {
    for await (const chunk of actor.candidates.remote(sketched.length).values()) {
      for (let at = 0; at < chunk.length; at += 2) keys.add((chunk[at] ?? 0) * FILES_MAX + (chunk[at + 1] ?? 0));
      await chaos?.streaming();
    }
    counters.actorCalls++;
  };
  await Promise.all(
    actors.map(async (actor) => {
      for (let fills = 0; ; fills++) {
        await fill(actor, sketched, counters);
        try {
          return await collectFrom(actor);
        } catch (error) {
          // Pairs seen before its process died are seen again: it is a set.
          if (fills >= FILLS_MAX || !(isLost(error) || isBatchesMissing(error))) throw error;
        }
      }
    }),
  );
  const pairs = new Uint32Array(keys.size * 2);
  let used = 0;
  for (const key of keys) {
    pairs[used++] = Math.floor(key / FILES_MAX);
    pairs[used++] = key % FILES_MAX;
  }
  return pairs;
}

/** Adds the batches that an actor does not have, which are all of them when it was restarted. */
async function fill(actor: BucketsHandle, sketched: readonly Sketched[], counters: Counters): Promise<void> {
  const ref = actor.missing.remote(sketched.length);
  const missing = await get(ref);
  release(ref);
  counters.actorCalls++;
  await countAdds(
    missing.flatMap((index) => sketched.filter(({ batch }) => batch.index === index)).map((each) => addTo(actor, each)),
    counters,
  );
}

function isBatchesMissing(error: unknown): boolean {
  return isError(error, "TASK_FAILED") && (error.cause as { code?: unknown } | undefined)?.code === "BATCHES_MISSING";
}

async function compareAll(
  sketched: readonly Sketched[],
  pairs: Uint32Array,
  threshold: number,
  counters: Counters,
  chaos: Chaos | undefined,
  withProgress: boolean,
): Promise<SimilarPair[]> {
  const compare = remote(comparePairs, { maxRetries: RETRIES });
  const setsOf = new Map(sketched.map(({ batch, sets }) => [batch.index, sets]));
  const plan = planComparisons(
    sketched.map(({ batch }) => batch),
    pairs,
  );
  const taskOf = new Map(
    plan.map((task) => {
      const sets = task.batches.flatMap((batch) => setsOf.get(batch) ?? []);
      return [compare.remote(task.places, ...sets), task] as const;
    }),
  );
  using bar = withProgress ? progressBar(pairs.length / 2, "comparing pairs") : undefined;
  const similar: SimilarPair[] = [];
  let done = 0;
  for await (const ref of asCompleted(taskOf.keys())) {
    const { similarities, bytesViewed, pid } = await get(ref);
    const files = taskOf.get(ref)?.files ?? new Uint32Array(0);
    release(ref);
    for (const [pair, similarity] of similarities.entries()) {
      if (similarity < threshold) continue;
      similar.push({ a: files[pair * 2] ?? 0, b: files[pair * 2 + 1] ?? 0, similarity });
    }
    counters.tasks++;
    counters.bytesViewed += bytesViewed;
    bar?.add(similarities.length);
    await chaos?.compared(++done, plan.length, pid);
  }
  return similar;
}

async function bucketPids(): Promise<readonly number[]> {
  const actors = await listActors();
  return actors.flatMap(({ className, pid }) => (className === Buckets.name && pid !== null ? [pid] : []));
}
