/** Which actors have changed since somebody last asked, so that ten thousand that did not need not be told again. */
import type { ActorId } from "../base/mod.ts";
import type { ActorRecord } from "./actor-record.ts";

/** So many that are not remembered any more are told of; who asks less often is told everything anew. */
const FORGOTTEN_KEPT = 10_000;
const VERSIONS_OF_EPOCH = 2 ** 32;

export class ActorChanges {
  private last: number;
  private readonly forgotten: { readonly actorId: ActorId; readonly version: number }[] = [];
  /** Versions up to this one are too old to say what was forgotten since. */
  private horizon: number;

  /** @param epoch of control: versions of an earlier one mean nothing to this one. */
  constructor(epoch: number) {
    this.last = epoch * VERSIONS_OF_EPOCH;
    this.horizon = this.last;
  }

  get version(): number {
    return this.last;
  }

  changed(actor: ActorRecord): void {
    actor.version = ++this.last;
  }

  forget({ actorId }: ActorRecord): void {
    this.forgotten.push({ actorId, version: ++this.last });
    if (this.forgotten.length > 2 * FORGOTTEN_KEPT) {
      this.horizon = this.forgotten[FORGOTTEN_KEPT - 1]?.version ?? 0;
      this.forgotten.splice(0, FORGOTTEN_KEPT);
    }
  }

  /** Those that are gone since this version; undefined when that is not known any more. */
  goneSince(version: number): readonly ActorId[] | undefined {
    if (version < this.horizon || version > this.last) return undefined;
    return this.forgotten.flatMap((one) => (one.version > version ? one.actorId : []));
  }
}
