/** Who asked for what by a program or a tool, not over HTTP: for the audit log of the state service. */
import type { ActorId, JobId } from "../base/ids.ts";

/** What an asker says of itself: its node knows the process, and only the process knows which of its code it was. */
export interface AskedBy {
  /** Of a tool: `mobula drain`. */
  readonly program?: string;
  /** Of one that no node knows. */
  readonly pid?: number;
  readonly host?: string;
  readonly user?: string;
  readonly jobId?: JobId;
  /** The task or call whose code asked. */
  readonly name?: string;
  readonly taskId?: string;
  readonly actorId?: ActorId;
}

export interface AuditNote {
  readonly seq: number;
  readonly atMs: number;
  /** As kinds of events are named: `actor-kill`. */
  readonly kind: string;
  /** `killed actor 3f…a1`: it follows who did it. */
  readonly did: string;
  readonly subjects: readonly string[];
  readonly role: "driver" | "worker" | "tool";
  readonly by: AskedBy;
}

/** The notes of one run of a node or head, the oldest first. */
export interface AuditNotes {
  readonly run: string;
  readonly notes: readonly AuditNote[];
  /** So many were made room for newer ones, of those that are asked for and others. */
  readonly dropped: number;
}
