/**
 * The making of an actor, as an attempt of a task. Its host tells of it, not who asked for it: it knows each incarnation, also
 * when nobody else is there any more, and how long it took.
 */
import { monotonicMs, wallMs } from "../base/clock.ts";
import { creationTask } from "../base/ids.ts";
import { OWN_NAMESPACES } from "../base/limits.ts";
import type { Client } from "../client/mod.ts";
import type { FinishedAttempt } from "../events/mod.ts";
import type { OwnerRuntime } from "../owner/mod.ts";
import { type ActorCreator, type ActorStart, unpackFailure } from "../wire/mod.ts";
import type { HostedClass } from "./hosted-actor.ts";
import type { Running } from "./running.ts";

type Parent = NonNullable<FinishedAttempt["parent"]>;

export class CreationEvents {
  private readonly runtime: Pick<OwnerRuntime, "actorMade">;
  private readonly place: Pick<Client, "nodeId">;
  private last: Parent | undefined;

  constructor(runtime: Pick<OwnerRuntime, "actorMade">, place: Pick<Client, "nodeId">) {
    this.runtime = runtime;
    this.place = place;
  }

  /** @returns what is to be called when it has come to its end, with the error as it is packed. */
  begins(
    { actorId, incarnation, namespace, spec }: ActorStart,
    running: Running,
    code: HostedClass,
  ): (outcome: "ok" | "error" | "cancelled", failure?: Uint8Array) => void {
    if (namespace.startsWith(OWN_NAMESPACES)) return () => {};
    const sentAtMs = wallMs();
    const startedAt = monotonicMs();
    const { creator } = spec;
    return (outcome, failure) => {
      const { workerId } = running;
      this.runtime.actorMade(
        {
          ...{ name: running.name, code, className: undefined, seq: creationTask(actorId).seq, attempt: incarnation },
          ...{ kind: "actor-creation", isSerial: false, actorId, readyAfterMicros: undefined, sentAtMs },
          parent: creator && this.parentOf(creator),
          // Nobody asks for what is made again. Clocks of machines differ.
          submittedAtMs: incarnation === 0 ? Math.min(creator?.submittedAtMs ?? sentAtMs, sentAtMs) : sentAtMs,
        },
        workerId === null ? undefined : { workerId, nodeId: this.place.nodeId, pid: process.pid },
        Math.round((monotonicMs() - startedAt) * 1_000),
        wallMs(),
        outcome,
        failure && (() => unpackFailure(failure).message),
      );
    };
  }

  /** Neighbours have mostly the same one, and a batch names each once. */
  private parentOf({ processId, pid, parent }: ActorCreator): Parent {
    const [owner, seq, name] = parent ?? [processId, 0, undefined];
    const { last } = this;
    if (last?.owner === owner && last.seq === seq && last.pid === pid && last.name === name) return last;
    this.last = { owner, seq, pid, name };
    return this.last;
  }
}
