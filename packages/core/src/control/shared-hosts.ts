/**
 * Which worker a shared actor goes into. Workers are filled one after the other, up to the actors' own limit, because a
 * worker costs megabytes and an actor kilobytes. A worker that has been empty for a while is given up.
 */
import type { WorkerId } from "../base/mod.ts";
import type { WorkerAddress } from "../wire/messages.ts";
import type { ActorRecord } from "./actor-record.ts";

/** An empty shared worker waits this long for another actor. */
const EMPTY_HOST_MS = 5_000;

export interface SharedHost {
  /** Of the request for the worker. */
  readonly requestId: number;
  readonly poolKey: string;
  readonly capacity: number;
  /** Those in it, and those that wait for it to start or for resources in it. */
  readonly actors: Set<ActorRecord>;
  worker: WorkerAddress | undefined;
  emptySinceMs: number | undefined;
  /** The next actors go there. */
  isOpen: boolean;
  /** Its node is to end: nobody goes there any more. */
  isLast: boolean;
}

export interface SharedHosts {
  /** Reserves a place; `request` is called when a new worker is needed, and gives the id of that request. */
  place(actor: ActorRecord, request: () => number): SharedHost;
  /** It lives in a worker that was asked for by an earlier control. */
  adopt(actor: ActorRecord, requestId: number, worker: WorkerAddress): SharedHost;
  leave(host: SharedHost, actor: ActorRecord, nowMs: number): void;
  /** Nobody goes there any more. */
  retire(host: SharedHost): void;
  retireWorker(workerId: WorkerId): void;
  /** Its node has no room for such actors while others have. */
  hasNoRoom(host: SharedHost): void;
  started(requestId: number, worker: WorkerAddress): SharedHost | undefined;
  /** The host of this request or worker is no more; its actors are the caller's to care for. */
  removeRequest(requestId: number): SharedHost | undefined;
  removeWorker(workerId: WorkerId): SharedHost | undefined;
  /** Takes out and gives back those that were empty for too long. */
  takeIdle(nowMs: number): readonly SharedHost[];
}

/** @param overNodes workers are on several nodes, so those are together that want the same of their node. */
export function createSharedHosts(overNodes: boolean): SharedHosts {
  const byRequest = new Map<number, SharedHost>();
  const byWorker = new Map<WorkerId, SharedHost>();
  /** Those with room, the one to fill next last. */
  const open = new Map<string, SharedHost[]>();
  const empty = new Set<SharedHost>();

  function close(host: SharedHost): void {
    host.isOpen = false;
    const hosts = open.get(host.poolKey);
    const index = hosts?.indexOf(host) ?? -1;
    if (index >= 0) hosts?.splice(index, 1);
    if (hosts?.length === 0) open.delete(host.poolKey);
  }

  function retire(host: SharedHost): void {
    host.isLast = true;
    close(host);
  }

  function remove(host: SharedHost | undefined): SharedHost | undefined {
    if (host === undefined) return undefined;
    byRequest.delete(host.requestId);
    if (host.worker) byWorker.delete(host.worker.workerId);
    empty.delete(host);
    close(host);
    return host;
  }

  return {
    place(actor, request) {
      const key = poolKey(actor, overNodes);
      const hosts = open.get(key);
      let host = hosts?.at(-1);
      if (host === undefined) {
        const capacity = actor.options.maxActorsPerWorker;
        host = {
          requestId: request(),
          poolKey: key,
          capacity,
          actors: new Set(),
          worker: undefined,
          emptySinceMs: undefined,
          isOpen: true,
          isLast: false,
        };
        byRequest.set(host.requestId, host);
        open.set(key, [host]);
      }
      host.actors.add(actor);
      host.emptySinceMs = undefined;
      empty.delete(host);
      if (host.actors.size >= host.capacity) close(host);
      return host;
    },

    adopt(actor, requestId, worker) {
      let host = byRequest.get(requestId);
      if (host === undefined) {
        const key = poolKey(actor, overNodes);
        const capacity = actor.options.maxActorsPerWorker;
        host = {
          requestId,
          poolKey: key,
          capacity,
          actors: new Set(),
          worker,
          emptySinceMs: undefined,
          isOpen: true,
          isLast: false,
        };
        byRequest.set(requestId, host);
        byWorker.set(worker.workerId, host);
        open.set(key, [host, ...(open.get(key) ?? [])]);
      }
      host.actors.add(actor);
      if (host.actors.size >= host.capacity) close(host);
      return host;
    },

    leave(host, actor, nowMs) {
      if (!host.actors.delete(actor) || !byRequest.has(host.requestId)) return;
      if (!host.isOpen && !host.isLast) {
        host.isOpen = true;
        const hosts = open.get(host.poolKey);
        if (hosts) hosts.unshift(host);
        else open.set(host.poolKey, [host]);
      }
      if (host.actors.size > 0) return;
      host.emptySinceMs = nowMs;
      empty.add(host);
    },

    hasNoRoom: close,
    retire,

    retireWorker(workerId) {
      const host = byWorker.get(workerId);
      if (host) retire(host);
    },

    started(requestId, worker) {
      const host = byRequest.get(requestId);
      if (host === undefined) return undefined;
      host.worker = worker;
      byWorker.set(worker.workerId, host);
      return host;
    },

    removeRequest: (requestId) => remove(byRequest.get(requestId)),
    removeWorker: (workerId) => remove(byWorker.get(workerId)),

    takeIdle(nowMs) {
      const idle: SharedHost[] = [];
      for (const host of empty) {
        if (host.emptySinceMs !== undefined && nowMs - host.emptySinceMs >= EMPTY_HOST_MS) idle.push(host);
      }
      for (const host of idle) remove(host);
      return idle;
    },
  };
}

function poolKey({ jobId, options }: ActorRecord, overNodes: boolean): string {
  const { maxActorsPerWorker, runtimeEnv, resources, placement } = options;
  const wants = overNodes ? Object.entries(resources).sort(([a], [b]) => (a < b ? -1 : 1)) : [];
  return `${jobId}/${maxActorsPerWorker}/${JSON.stringify([runtimeEnv ?? null, placement ?? null])}/${wants}`;
}
