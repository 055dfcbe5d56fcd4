/** The actors beside the commands of jobs, as the service that takes jobs reaches them: it is a driver of the cluster for that. */
import {
  type ActorHandle,
  get,
  getActor,
  isInitialized,
  JobSupervisor,
  kill,
  type ObjectRefStream,
  readJobOutput,
  remote,
  removeJobOutput,
} from "../api/mod.ts";
import { isError } from "../base/errors.ts";
import { OWN_NAMESPACES } from "../base/limits.ts";
import type { JobSpec, LogPiece } from "../entrypoint/mod.ts";
import type { ActorInfo } from "../wire/queries.ts";
import type { Ask } from "./known-jobs.ts";
import { type Package, piecesOf } from "./packages.ts";

export const SUPERVISORS_NAMESPACE = `${OWN_NAMESPACES}jobs`;
/** As `api/job-supervisor.ts` names what holds a job's environment; no submission id has a slash. */
const ENVIRONMENT = "/environment";
const nameOf = (submissionId: string): string => `job-${submissionId}`;

/** All that may be under way at one of them: those who follow its log, and orders. */
const CALLS_AT_ONCE = 1_000;
const PIECE_BYTES = 4 * 2 ** 20;
const ORDER_MS = 20_000;

export class Supervisors {
  private readonly ask: Ask;
  private readonly join: () => Promise<void>;
  private joining: Promise<void> | undefined;

  /** @param join makes this process a driver of the cluster, in {@link SUPERVISORS_NAMESPACE}. */
  constructor(ask: Ask, join: () => Promise<void>) {
    this.ask = ask;
    this.join = join;
  }

  /** Makes the one of a job, unless it is there. */
  async create({ submissionId, resources, labels }: JobSpec): Promise<void> {
    await this.joined();
    const { cpu = 0, gpu = 0, memory = 0, ...custom } = resources;
    const handle = remote(JobSupervisor, {
      name: nameOf(submissionId),
      namespace: SUPERVISORS_NAMESPACE,
      getIfExists: true,
      lifetime: "detached",
      maxRestarts: -1,
      maxConcurrency: CALLS_AT_ONCE,
      numCpus: cpu,
      numGpus: gpu,
      memory,
      resources: custom,
      ...(Object.keys(labels).length > 0 && { labelSelector: labels }),
    }).remote(submissionId);
    handle[Symbol.dispose]();
  }

  /** Those of a job that live: its supervisor, and what that has made beside itself. */
  async beside(submissionId: string): Promise<readonly ActorInfo[]> {
    const all = await this.all();
    return [submissionId, `${submissionId}${ENVIRONMENT}`].flatMap((id) => {
      const info = all.get(id);
      return info && info.state !== "dead" ? [info] : [];
    });
  }

  /** Those that control knows, by job. */
  async all(): Promise<Map<string, ActorInfo>> {
    const infos = await this.ask("list-actors", { namespace: SUPERVISORS_NAMESPACE });
    const named = infos.flatMap((info) =>
      info.name === null ? [] : [[info.name.slice(nameOf("").length), info] as const],
    );
    // Of several with one name the last one that lives counts.
    return new Map(named.sort(([, a], [, b]) => Number(a.state !== "dead") - Number(b.state !== "dead")));
  }

  /** Has it end the command; resolves when nothing of that is left. */
  async stop(submissionId: string): Promise<void> {
    await this.order(submissionId, (handle) => get(handle.stop.remote(), { timeoutMs: ORDER_MS }));
  }

  /** Ends it at once, if it is there. */
  async kill(submissionId: string): Promise<void> {
    await this.order(submissionId, (handle) => kill(handle, { noRestart: true }));
  }

  /** Brings the package that it waits for. @param find the package of a name. */
  async bring(submissionId: string, find: (uri: string) => Promise<Package | undefined>): Promise<void> {
    await this.order(submissionId, async (handle) => {
      const uri = await get(handle.missing.remote());
      if (uri === null) return;
      const found = await find(uri);
      if (!found) {
        await get(handle.notToBeHad.remote(`${uri} was not uploaded, or was removed since`), { timeoutMs: ORDER_MS });
        return;
      }
      if (!(await get(handle.offer.remote(found.hash), { timeoutMs: ORDER_MS }))) return;
      for await (const { offset, piece } of piecesOf(found, PIECE_BYTES)) {
        await get(handle.bring.remote(found.hash, offset, found.bytes, piece));
      }
    });
  }

  /** What the command prints, from an offset on, until its supervisor ends. */
  async *follow(submissionId: string, offset: number, signal: AbortSignal): AsyncGenerator<LogPiece, void> {
    let stream: ObjectRefStream<LogPiece> | undefined;
    const end = (): void => void stream?.cancel().catch(() => {});
    signal.addEventListener("abort", end);
    try {
      await this.joined();
      using handle = await this.handleOf(submissionId);
      if (!handle || signal.aborted) return;
      stream = handle.follow.remote(offset) as unknown as ObjectRefStream<LogPiece>;
      for await (const piece of stream.values()) yield piece;
    } catch (error) {
      if (!signal.aborted && !isOver(error)) throw error;
    } finally {
      signal.removeEventListener("abort", end);
      end();
    }
  }

  /** What it has printed, read on its node; undefined when that is gone. */
  async read(submissionId: string, nodeId: string, offset: number, bytesMax: number): Promise<LogPiece | undefined> {
    await this.joined();
    return this.at(nodeId, async (options) =>
      get(remote(readJobOutput, options).remote(submissionId, offset, bytesMax), { timeoutMs: ORDER_MS }),
    );
  }

  async removeOutput(submissionId: string, nodeId: string): Promise<void> {
    await this.joined();
    await this.at(nodeId, (options) =>
      get(remote(removeJobOutput, options).remote(submissionId), { timeoutMs: ORDER_MS }),
    );
  }

  private async at<T>(
    nodeId: string,
    run: (options: {
      readonly numCpus: 0;
      readonly schedulingStrategy: { readonly nodeId: string; readonly soft: false };
    }) => Promise<T>,
  ): Promise<T | undefined> {
    const nodes = await this.ask("nodes", null);
    if (!nodes.some((node) => node.nodeId === nodeId && node.state !== "dead")) return undefined;
    return run({ numCpus: 0, schedulingStrategy: { nodeId, soft: false } });
  }

  private async order<T>(
    submissionId: string,
    act: (handle: ActorHandle<JobSupervisor>) => Promise<T>,
  ): Promise<T | undefined> {
    await this.joined();
    try {
      using handle = await this.handleOf(submissionId);
      return handle && (await act(handle));
    } catch (error) {
      // What it was to be told follows from the record when it is made again.
      if (isOver(error)) return undefined;
      throw error;
    }
  }

  private async handleOf(submissionId: string): Promise<ActorHandle<JobSupervisor> | undefined> {
    try {
      return await getActor<JobSupervisor>(nameOf(submissionId), { namespace: SUPERVISORS_NAMESPACE });
    } catch (error) {
      if (isError(error, "ACTOR_NOT_FOUND")) return undefined;
      throw error;
    }
  }

  private async joined(): Promise<void> {
    if (isInitialized()) return;
    this.joining ??= this.join().finally(() => {
      this.joining = undefined;
    });
    await this.joining;
  }
}

const isOver = (error: unknown): boolean =>
  isError(error, "ACTOR_DIED") || isError(error, "ACTOR_UNAVAILABLE") || isError(error, "TASK_CANCELLED");
