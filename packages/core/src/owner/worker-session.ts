/**
 * An owner's session with a worker of another node. A cut is a pause, however long: it ends when this node says that the
 * worker is gone, or with the owner. Should it end by itself (the worker has given it up, or too much is kept), then nobody would
 * tell what became of the tasks there: the worker is ended, and its end is told.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { ProcessId } from "../base/ids.ts";
import { type Access, dialPeer, type Peer, type PeerHandlers, type ResumablePeer } from "../transport/mod.ts";
import type { ProcessGone, WorkerAddress } from "../wire/mod.ts";

export interface WorkerSessionOptions {
  readonly worker: WorkerAddress & { readonly tcp: string };
  readonly access: Promise<Access>;
  readonly owner: ProcessId;
  readonly handlers: PeerHandlers;
  /** The worker cannot be reached, or refuses this owner, and is tried again. */
  onFailure(error: Error): void;
  /** The session has ended although nobody has said that the worker is gone. */
  onAbandoned(why: string): void;
}

/** A worker that refused may be of another mind later: tokens are exchanged while it runs. */
const REFUSED_MS = 1_000;
const FIRST_CONNECTION_MS = 10_000;

export class WorkerSession {
  private readonly options: WorkerSessionOptions;
  private readonly over = new AbortController();
  private peer: ResumablePeer | undefined;
  /** The worker is gone, or the owner. */
  private isOver = false;

  constructor(options: WorkerSessionOptions) {
    this.options = options;
  }

  /** Resolves when connected. @throws when it is over before. */
  async open(): Promise<Peer> {
    const { worker, owner, handlers, onFailure } = this.options;
    const { signal } = this.over;
    for (;;) {
      try {
        const access = await this.options.access;
        const { peer } = await dialPeer({
          address: worker.tcp,
          token: access.token,
          tls: access.tls,
          role: "owner",
          who: { processId: owner },
          patienceMs: FIRST_CONNECTION_MS,
          signal,
          handlers: { ...handlers, onClose: (error) => this.closed(error) },
        });
        this.peer = peer;
        return peer;
      } catch (error) {
        if (signal.aborted) throw error;
        onFailure(error as Error);
        await delay(REFUSED_MS, undefined, { signal, ref: false });
      }
    }
  }

  workerGone({ isLost }: ProcessGone): void {
    this.isOver = true;
    if (this.peer && !isLost) this.peer.otherIsGone();
    else this.over.abort();
  }

  /** The owner ends: what it has written leaves. */
  close(): void {
    this.isOver = true;
    if (this.peer) this.peer.close();
    else this.over.abort();
  }

  private closed(error: Error | undefined): void {
    const { options } = this;
    if (!this.isOver) options.onAbandoned(error?.message ?? "it has closed the session");
    options.handlers.onClose(error);
  }
}
