/**
 * What a worker process is elsewhere, in this thread: runs one task at a time or hosts actors, and "dies" when it is
 * ended. It shares the driver's client, so everything in the process has one owner.
 *
 * Ending it cannot stop code that runs: its connection closes, its signals are aborted, and what it still gives is
 * dropped.
 */
import type { ProcessId, WorkerId } from "../base/ids.ts";
import type { Client } from "../client/mod.ts";
import type { OwnerRuntime } from "../owner/mod.ts";
import { MemoryPeer, type Peer, type PeerHandlers } from "../transport/mod.ts";
import type { ToNode } from "../wire/mod.ts";
import { ActorHost, OwnerConnection, type Surroundings, TaskRunner, Waits } from "../worker/mod.ts";

export interface InlineExecutorOptions {
  readonly workerId: WorkerId;
  /** By which control names it as a host of actors. */
  readonly processId: ProcessId;
  readonly client: Client;
  readonly runtime: OwnerRuntime;
  /** What a worker would say to its node. */
  readonly toNode: (message: ToNode) => void;
}

export class InlineExecutor {
  readonly workerId: WorkerId;
  readonly processId: ProcessId;
  readonly actors: ActorHost;
  readonly waits: Waits;
  lease: Pick<Surroundings, "resources" | "gpus" | "bundle"> = { resources: {}, gpus: [], bundle: undefined };
  isEnded = false;
  private readonly tasks: TaskRunner;
  private readonly options: InlineExecutorOptions;
  private readonly peers = new Set<MemoryPeer>();

  constructor(options: InlineExecutorOptions) {
    const { client, runtime, workerId, toNode } = options;
    this.options = options;
    this.workerId = workerId;
    this.processId = options.processId;
    const say = (message: ToNode): void => {
      if (!this.isEnded) toNode(message);
    };
    this.waits = new Waits(() => runtime, say);
    const waiting: Surroundings["waiting"] = (change, running, seqs) => this.waits.change(change, running, seqs);
    const leased = (): InlineExecutor["lease"] => this.lease;
    const around: Surroundings = {
      client,
      workerId,
      get resources() {
        return leased().resources;
      },
      get gpus() {
        return leased().gpus;
      },
      get bundle() {
        return leased().bundle;
      },
      wasRestarted: false,
      slots: 1,
      waiting,
    };
    this.tasks = new TaskRunner(client, runtime, undefined, () => around);
    this.actors = new ActorHost({
      client,
      runtime,
      claims: undefined,
      toNode: say,
      waiting,
      workerId,
      onEnded: (running) => this.waits.ended(running),
    });
    this.waits.isQueued = (key) => this.actors.isQueued(key);
    this.waits.task = () => this.tasks.running;
    this.waits.onBlocked = (isBlocked) => this.tasks.blocked(isBlocked);
    this.tasks.onEnd = (running) => this.waits.ended(running);
  }

  /** The owner's end of a new connection. */
  connect(handlers: PeerHandlers): Peer {
    const { client, runtime } = this.options;
    const [owner, here] = MemoryPeer.pair();
    owner.handlers = handlers;
    here.handlers = new OwnerConnection(here, client, runtime, this.tasks, this.actors, (ended) => {
      this.peers.delete(here);
      this.tasks.ownerGone(ended);
      this.actors.ownerGone(ended);
    });
    this.peers.add(here);
    return owner;
  }

  end(): void {
    this.isEnded = true;
    for (const peer of [...this.peers]) peer.destroy();
  }
}
