/** A connection between an owner and a worker, hot frames both ways, through the production writers and readers. */

import { OwnerClaims, type WorkerLink } from "../../core/src/owner/mod.ts";
import { FrameReader, FrameWriter, type WorkerAddress } from "../../core/src/wire/mod.ts";
import { Channel } from "./network.ts";
import type { SimProcess } from "./process.ts";
import type { SimWorker } from "./worker.ts";
import type { World } from "./world.ts";

const HEADER_BYTES = 4;
const LAST_WORDS_MS = 1_000;

export class SimLink implements WorkerLink {
  readonly address: WorkerAddress;
  readonly owner: SimProcess;
  readonly worker: SimWorker | undefined;
  readonly out = new FrameWriter();
  /** The worker's answers. */
  readonly back = new FrameWriter();
  readonly knownTemplates = new Set<number>();
  readonly knownMethods: WorkerLink["knownMethods"] = new Map();
  readonly knownActors = new Map<number, number>();
  namedLease = 0;
  /** As the worker has read it. */
  lease = 0;
  readonly claims: OwnerClaims | undefined;
  isBroken = false;
  /** Called once everything that came on it has been read. */
  readonly whenClosed: (() => void)[] = [];
  /** The worker reads nothing more of it. */
  isOwnerGone = false;
  /** What the worker's side has been told: templates' and methods' numbers of returns, and actors' ids, by number. */
  readonly numReturns = new Map<number, number>();
  readonly actors = new Map<number, { readonly actorId: string; readonly incarnation: number }>();
  private readonly toWorker: Channel;
  private readonly toOwner: Channel;
  private readonly reader = new FrameReader();

  private readonly world: World;

  constructor(world: World, owner: SimProcess, address: WorkerAddress) {
    this.world = world;
    this.address = address;
    this.owner = owner;
    this.worker = world.workers.get(address.workerId);
    const there = this.worker?.process.place ?? owner.place;
    this.toWorker = new Channel(world, { from: owner.place, to: there });
    this.toOwner = new Channel(world, { from: there, to: owner.place });
    const isHere = this.worker?.process.node === owner.node;
    if (isHere && this.worker) this.claims = new OwnerClaims(this.worker.words, address.pid, owner.named, () => false);
    if (this.worker?.process.isAlive) {
      this.worker.links.add(this);
      if (!isHere) this.worker.process.toNode({ t: "process-watch", processId: owner.id });
    } else this.workerGone();
  }

  schedule(): void {
    if (this.out.isEmpty) return;
    const bytes = this.out.takeCopy();
    this.toWorker.send(() => {
      if (!this.worker?.process.isAlive || this.isOwnerGone) return;
      this.worker.process.turn(() => this.frames(bytes, (reader) => this.worker?.onFrame(this, reader)));
    });
  }

  answer(): void {
    if (this.back.isEmpty) return;
    const bytes = this.back.takeCopy();
    this.toOwner.send(() => {
      this.owner.turn((engine) => this.frames(bytes, (reader) => engine.onWorkerFrame(this, reader)));
    });
  }

  workerGone(): void {
    this.toOwner.close(() => this.owner.turn(() => this.closed()));
  }

  ownerGone(): void {
    this.toWorker.close(() => {
      this.worker?.links.delete(this);
      if (this.worker?.process.isAlive) this.worker.process.turn(() => this.worker?.ownerGone(this));
    });
  }

  /** The owner's machine is given up: the worker ends the session. */
  ownerLost(): void {
    this.toWorker.cutOff();
    this.worker?.links.delete(this);
    this.worker?.ownerGone(this);
  }

  /** The worker's machine is given up: the owner ends the session. */
  cutOff(): void {
    if (this.isBroken) return;
    this.toOwner.cutOff();
    this.toWorker.cutOff();
    this.closed();
  }

  private closed(): void {
    this.owner.engine.onLinkClosed(this);
    for (const next of this.whenClosed.splice(0)) next();
  }

  /** The worker is gone, and its machine may be lost before it closes the session: as `transport/resumable.ts`. */
  otherIsGone(): void {
    const { arrived } = this.toOwner;
    this.world.clock.schedule(LAST_WORDS_MS, () => {
      if (this.isBroken) return;
      if (this.toOwner.arrived === arrived) this.owner.turn(() => this.cutOff());
      else this.otherIsGone();
    });
  }

  private frames(bytes: Buffer, handle: (reader: FrameReader) => void): void {
    for (let at = 0; at < bytes.length; ) {
      const start = at + HEADER_BYTES;
      at = start + bytes.readUInt32LE(at);
      handle(this.reader.reset(bytes, start, at));
    }
  }
}
