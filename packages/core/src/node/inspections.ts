/**
 * Looks into processes of this node, and of others by asking their nodes: stacks, profiles, heap snapshots. An inspection is begun, and
 * then read until it is done: it may last for minutes, and be larger than a message. One that nobody reads any more is ended,
 * so that no inspector stays open for an asker who is gone.
 */
import { monotonicMs, wallMs } from "../base/clock.ts";
import { ConnectionLostError, InvalidOptionError, WorkerDiedError } from "../base/errors.ts";
import type { NodeId, ProcessId } from "../base/ids.ts";
import { randomBytes } from "../base/random.ts";
import {
  ALL_PROCESSES,
  type FoundProcess,
  type InspectedStack,
  type InspectedThing,
  type ProgramView,
  type SnapshotProgress,
} from "../wire/inspection.ts";
import type { Queries } from "../wire/queries.ts";
import { type TakenSnapshot, takeSnapshot } from "./heap-snapshot.ts";
import type { InspectorClient } from "./inspector-client.ts";
import { kernelView } from "./kernel-view.ts";
import { suspendedPlaces } from "./suspended-places.ts";
import { LOOK, type OpenInspector } from "./worker-inspector.ts";

/** A process of this node. */
export interface InspectedProcess extends Omit<FoundProcess, "nodeId" | "nodeName"> {
  readonly processId: ProcessId;
  /** Connects to its inspector. @throws ConnectionLostError that says why it does not answer. */
  open(timeoutMs: number): Promise<OpenInspector>;
}

export interface InspectionsEffects {
  /** Its own workers and drivers, and nothing else. */
  processes(): Iterable<InspectedProcess>;
  /** Asks another node. */
  ask: <M extends keyof Queries>(to: NodeId, method: M, params: Queries[M]["params"]) => Promise<Queries[M]["result"]>;
  /** Asks control, which asks all nodes; undefined when the node is in no cluster. */
  readonly everywhere: ((params: { readonly id: string }) => Promise<readonly FoundProcess[]>) | undefined;
}

export type Inspecting = "inspect-begin" | "inspect-read" | "find-process";
const METHODS: ReadonlySet<string> = new Set<Inspecting>(["inspect-begin", "inspect-read", "find-process"]);

/** How long a program has to answer. */
const OPEN_MS = 1_500;
const LOOK_MS = 1_000;
const START_MS = 2_000;
/** A long profile takes as long to be written. */
const STOP_MS = 60_000;
const SECONDS_MAX = 300;
const SECONDS = 10;
/** Of a processor's time of the profiled process this takes about 1 %. */
const CPU_EVERY_MICROS = 1_000;
const HEAP_EVERY_BYTES = 32 * 1_024;
/** A read waits so long for the end: less than questions between nodes may take. */
const READ_MS = 1_000;
const SLICE_BYTES = 512 * 1_024;
const ABANDONED_MS = 10_000;
/** One that is held: whoever has read it looks through it, and then asks for more. */
const HELD_MS = 60_000;
const AT_ONCE_MAX = 32;
/** They take memory, and each makes a process stand still. */
const SNAPSHOTS_AT_ONCE_MAX = 2;
const SUSPENDED_MAX = 1_000;

type Begin = Queries["inspect-begin"]["params"];

interface Inspection {
  readonly what: InspectedThing;
  lastReadMs: number;
  /** Settles when it is over; never rejects. */
  readonly over: Promise<void>;
  progress: SnapshotProgress | undefined;
  /** Settles when what it will cost is known, which is told before anything else. */
  readonly begun: Promise<void>;
  isCostTold: boolean;
  found: Buffer | TakenSnapshot | undefined;
  error: Error | undefined;
  readonly abandon: () => void;
}

const isUnderWay = ({ found, error }: Inspection): boolean => found === undefined && error === undefined;

export class Inspections {
  private readonly here: { readonly nodeId: NodeId; readonly name: string };
  private readonly effects: InspectionsEffects;
  private readonly inspections = new Map<string, Inspection>();
  private sweeper: NodeJS.Timeout | undefined;
  /** For snapshots, until they are read. */
  private readonly folder: string;

  constructor(
    here: { readonly nodeId: NodeId; readonly name: string; readonly sessionDir: string },
    effects: InspectionsEffects,
  ) {
    this.here = { nodeId: here.nodeId, name: here.name };
    this.folder = here.sessionDir;
    this.effects = effects;
  }

  isMine(method: string): method is Inspecting {
    return METHODS.has(method);
  }

  /** @param isLocal a process of this node asks, not another node or control. */
  async answer(method: Inspecting, params: unknown, isLocal: boolean): Promise<unknown> {
    const { nodeId } = (params ?? {}) as { readonly nodeId?: NodeId };
    if (nodeId !== undefined && nodeId !== this.here.nodeId) {
      if (!isLocal) throw new InvalidOptionError(`node ${this.here.nodeId} was asked for a process of node ${nodeId}`);
      return this.effects.ask(nodeId, method, params as never);
    }
    switch (method) {
      case "find-process":
        return this.find(String((params as { id?: unknown })?.id), isLocal && nodeId === undefined);
      case "inspect-begin":
        return this.begin((params ?? {}) as Begin);
      case "inspect-read": {
        const { inspection, offset } = (params ?? {}) as Queries["inspect-read"]["params"];
        return this.read(String(inspection), Number(offset));
      }
    }
  }

  private async find(id: string, isEverywhere: boolean): Promise<readonly FoundProcess[]> {
    const { everywhere } = this.effects;
    const found = [...this.effects.processes()]
      .filter(({ pid, workerId }) => id === ALL_PROCESSES || String(pid) === id || workerId === id)
      .map((one) => this.foundOf(one));
    // One of this number that is here is meant, although another machine may have one too.
    return everywhere && isEverywhere && (id === ALL_PROCESSES || found.length === 0) ? everywhere({ id }) : found;
  }

  private foundOf({ pid, role, workerId }: InspectedProcess): FoundProcess {
    return { nodeId: this.here.nodeId, nodeName: this.here.name, pid, role, workerId };
  }

  private begin(asked: Begin): { inspection: string } {
    const { pid, what, seconds = SECONDS } = asked;
    const target = [...this.effects.processes()].find((one) => one.pid === pid);
    if (!target) {
      throw new InvalidOptionError(
        `process ${String(pid)} is no worker and no driver of node ${this.here.name}: only those are looked into`,
      );
    }
    if (!(seconds >= 1 && seconds <= SECONDS_MAX)) {
      throw new InvalidOptionError(`a profile takes 1 to ${SECONDS_MAX} seconds, not ${String(seconds)}`);
    }
    const underWay = [...this.inspections.values()].filter(isUnderWay);
    if (underWay.length >= AT_ONCE_MAX) {
      throw new InvalidOptionError(
        `${AT_ONCE_MAX} inspections are under way at this node; ask again when one has ended`,
      );
    }
    if (what === "snapshot" && underWay.filter((one) => one.what === what).length >= SNAPSHOTS_AT_ONCE_MAX) {
      throw new InvalidOptionError(
        `${SNAPSHOTS_AT_ONCE_MAX} heap snapshots are being taken at this node; ask again when one is there`,
      );
    }
    const id = randomBytes(8).toString("hex");
    const { promise: abandoned, resolve: abandon } = Promise.withResolvers<void>();
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const onProgress = (progress: SnapshotProgress): void => {
      inspection.progress = progress;
      begin();
    };
    const inspection: Inspection = {
      what,
      lastReadMs: monotonicMs(),
      // Begun when the inspection is known: it may tell of its progress at once.
      over: Promise.resolve().then(async () => {
        try {
          inspection.found = await this.run(target, id, { ...asked, seconds }, abandoned, onProgress);
          if (!this.inspections.has(id)) await remove(inspection);
        } catch (error) {
          inspection.error = error as Error;
        }
      }),
      progress: undefined,
      begun,
      isCostTold: false,
      found: undefined,
      error: undefined,
      abandon,
    };
    this.inspections.set(id, inspection);
    this.sweeper ??= setInterval(() => this.sweep(), ABANDONED_MS / 4).unref();
    return { inspection: id };
  }

  private async read(id: string, offset: number): Promise<Queries["inspect-read"]["result"]> {
    const inspection = this.inspections.get(id);
    if (!inspection) {
      throw new InvalidOptionError(
        `no inspection ${id} is known here: it was not read for ${ABANDONED_MS / 1_000} s, or never begun`,
      );
    }
    inspection.lastReadMs = monotonicMs();
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, READ_MS);
    await Promise.race([inspection.over, late, ...(inspection.isCostTold ? [] : [inspection.begun])]);
    clearTimeout(timer);
    const { found, error, progress, isCostTold } = inspection;
    if (error) throw error;
    if (progress) inspection.isCostTold = true;
    if (!found || (progress && !isCostTold)) return { isDone: false, ...(progress && { progress }) };
    if (!("file" in found)) {
      return { isDone: true, totalBytes: found.length, bytes: found.subarray(offset, offset + SLICE_BYTES) };
    }
    const { file, totalBytes, stillMs } = found;
    const slice = Buffer.alloc(Math.max(0, Math.min(SLICE_BYTES, totalBytes - offset)));
    const { bytesRead } = await file.read(slice, 0, slice.length, offset);
    return { isDone: true, totalBytes, bytes: slice.subarray(0, bytesRead), stillMs };
  }

  private sweep(): void {
    const nowMs = monotonicMs();
    for (const [id, { lastReadMs, found }] of this.inspections) {
      const isHeld = found && "file" in found && found.client !== undefined;
      if (nowMs - lastReadMs >= (isHeld ? HELD_MS : ABANDONED_MS)) this.abandon(id);
    }
    if (this.inspections.size > 0) return;
    clearInterval(this.sweeper);
    this.sweeper = undefined;
  }

  private abandon(id: string): void {
    const inspection = this.inspections.get(id);
    if (!inspection) return;
    this.inspections.delete(id);
    inspection.abandon();
    void remove(inspection);
  }

  /** The node ends. */
  close(): void {
    clearInterval(this.sweeper);
    for (const id of [...this.inspections.keys()]) this.abandon(id);
  }

  private async run(
    target: InspectedProcess,
    id: string,
    {
      what,
      seconds = SECONDS,
      isForced = false,
      isHeld = false,
      snapshot = "",
      functions = [],
      executions = [],
    }: Begin,
    abandoned: Promise<void>,
    onProgress: (progress: SnapshotProgress) => void,
  ): Promise<Buffer | TakenSnapshot> {
    const ms = seconds * 1_000;
    switch (what) {
      case "stack":
        return this.stack(target);
      case "cpu":
        return profile(target, CPU, ms, abandoned);
      case "heap":
        return profile(target, HEAP, ms, abandoned);
      case "snapshot":
        return takeSnapshot(target, {
          folder: this.folder,
          name: `snapshot-${id}`,
          isForced,
          isHeld,
          onProgress,
          abandoned,
        });
      case "suspended": {
        if (functions.length > SUSPENDED_MAX)
          throw new InvalidOptionError(`at most ${SUSPENDED_MAX} functions can be asked for, not ${functions.length}`);
        const found = this.inspections.get(snapshot)?.found;
        const client = found && "file" in found ? found.client : undefined;
        if (!client) {
          throw new InvalidOptionError(
            `there is no snapshot ${snapshot} any more that was held: it was not read for ${HELD_MS / 1_000} s`,
          );
        }
        const places = await suspendedPlaces(client, functions, executions);
        this.abandon(snapshot);
        return Buffer.from(JSON.stringify(places));
      }
      default:
        throw new InvalidOptionError(`"${String(what)}" is none of "stack", "cpu", "heap", "snapshot" and "suspended"`);
    }
  }

  private async stack(target: InspectedProcess): Promise<Buffer> {
    const found = { ...this.foundOf(target), atMs: wallMs() };
    let stack: InspectedStack;
    try {
      stack = { ...found, program: await lookInto(target), kernel: null };
    } catch (error) {
      const why = (error as Error).message;
      stack = { ...found, program: null, kernel: { ...(await kernelView(target.pid)), why } };
    }
    return Buffer.from(JSON.stringify(stack));
  }
}

/** A file that is left goes with the folder of the node's run. */
async function remove({ found }: Inspection): Promise<void> {
  if (found && "file" in found) await found.remove().catch(() => {});
}

async function lookInto(target: InspectedProcess): Promise<ProgramView> {
  const { client, release } = await target.open(OPEN_MS);
  try {
    const view = await client.evaluate(LOOK, LOOK_MS);
    if (typeof view !== "string") throw new ConnectionLostError("its program says nothing of itself");
    return JSON.parse(view) as ProgramView; // As client/inspection.ts gives it.
  } finally {
    release();
  }
}

interface Profiler {
  start(client: InspectorClient): Promise<unknown>;
  readonly stop: string;
}

const CPU: Profiler = {
  start: async (client) => {
    await client.post("Profiler.enable", {}, START_MS);
    await client.post("Profiler.setSamplingInterval", { interval: CPU_EVERY_MICROS }, START_MS);
    await client.post("Profiler.start", {}, START_MS);
  },
  stop: "Profiler.stop",
};
const HEAP: Profiler = {
  start: (client) => client.post("HeapProfiler.startSampling", { samplingInterval: HEAP_EVERY_BYTES }, START_MS),
  stop: "HeapProfiler.stopSampling",
};

async function profile(
  target: InspectedProcess,
  profiler: Profiler,
  ms: number,
  abandoned: Promise<void>,
): Promise<Buffer> {
  let inspector: OpenInspector | undefined;
  let timer: NodeJS.Timeout | undefined;
  let hasBegun = false;
  try {
    inspector = await target.open(OPEN_MS);
    const { client } = inspector;
    await profiler.start(client);
    hasBegun = true;
    const { promise: passed, resolve } = Promise.withResolvers<void>();
    timer = setTimeout(resolve, ms);
    await Promise.race([passed, abandoned, client.ended]);
    const result = await client.postRaw(profiler.stop, {}, STOP_MS);
    // {"profile":…}
    return result.subarray(result.indexOf(":") + 1, result.length - 1);
  } catch (error) {
    const { message } = error as Error;
    const who = `process ${target.pid}`;
    throw new WorkerDiedError(
      hasBegun
        ? `${who} ended before its profile was done: ${message}`
        : `${who} cannot be profiled: ${message}; \`mobula stack ${target.pid}\` shows what the kernel says of it`,
    );
  } finally {
    clearTimeout(timer);
    inspector?.release();
  }
}
