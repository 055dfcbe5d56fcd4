/**
 * Looks into processes of this node, and of others by asking their nodes: stacks, and profiles. An inspection is begun, and
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
} from "../wire/inspection.ts";
import type { Queries } from "../wire/queries.ts";
import type { InspectorClient } from "./inspector-client.ts";
import { kernelView } from "./kernel-view.ts";
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
const AT_ONCE_MAX = 32;

interface Inspection {
  lastReadMs: number;
  /** Settles when it is over; never rejects. */
  readonly over: Promise<void>;
  bytes: Buffer | undefined;
  error: Error | undefined;
  readonly abandon: () => void;
}

const isUnderWay = ({ bytes, error }: Inspection): boolean => bytes === undefined && error === undefined;

export class Inspections {
  private readonly here: { readonly nodeId: NodeId; readonly name: string };
  private readonly effects: InspectionsEffects;
  private readonly inspections = new Map<string, Inspection>();
  private sweeper: NodeJS.Timeout | undefined;

  constructor(here: { readonly nodeId: NodeId; readonly name: string }, effects: InspectionsEffects) {
    this.here = { nodeId: here.nodeId, name: here.name };
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
        return this.begin((params ?? {}) as Queries["inspect-begin"]["params"]);
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

  private begin({ pid, what, seconds = SECONDS }: Queries["inspect-begin"]["params"]): { inspection: string } {
    const target = [...this.effects.processes()].find((one) => one.pid === pid);
    if (!target) {
      throw new InvalidOptionError(
        `process ${String(pid)} is no worker and no driver of node ${this.here.name}: only those are looked into`,
      );
    }
    if (!(seconds >= 1 && seconds <= SECONDS_MAX)) {
      throw new InvalidOptionError(`a profile takes 1 to ${SECONDS_MAX} seconds, not ${String(seconds)}`);
    }
    if ([...this.inspections.values()].filter(isUnderWay).length >= AT_ONCE_MAX) {
      throw new InvalidOptionError(
        `${AT_ONCE_MAX} inspections are under way at this node; ask again when one has ended`,
      );
    }
    const id = randomBytes(8).toString("hex");
    const { promise: abandoned, resolve: abandon } = Promise.withResolvers<void>();
    const inspection: Inspection = {
      lastReadMs: monotonicMs(),
      over: this.run(target, what, seconds * 1_000, abandoned).then(
        (bytes) => {
          inspection.bytes = bytes;
        },
        (error: Error) => {
          inspection.error = error;
        },
      ),
      bytes: undefined,
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
    await Promise.race([inspection.over, late]);
    clearTimeout(timer);
    const { bytes, error } = inspection;
    if (error) throw error;
    if (!bytes) return { isDone: false };
    return { isDone: true, totalBytes: bytes.length, bytes: bytes.subarray(offset, offset + SLICE_BYTES) };
  }

  private sweep(): void {
    const nowMs = monotonicMs();
    for (const [id, inspection] of this.inspections) {
      if (nowMs - inspection.lastReadMs < ABANDONED_MS) continue;
      inspection.abandon();
      this.inspections.delete(id);
    }
    if (this.inspections.size > 0) return;
    clearInterval(this.sweeper);
    this.sweeper = undefined;
  }

  /** The node ends. */
  close(): void {
    clearInterval(this.sweeper);
    for (const { abandon } of this.inspections.values()) abandon();
    this.inspections.clear();
  }

  private run(target: InspectedProcess, what: InspectedThing, ms: number, abandoned: Promise<void>): Promise<Buffer> {
    switch (what) {
      case "stack":
        return this.stack(target);
      case "cpu":
        return profile(target, CPU, ms, abandoned);
      case "heap":
        return profile(target, HEAP, ms, abandoned);
      default:
        return Promise.reject(new InvalidOptionError(`"${String(what)}" is none of "stack", "cpu" and "heap"`));
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
