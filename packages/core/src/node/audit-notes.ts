/**
 * What programs and tools have asked a node or a head for that ends something of others, and who: the last of it, until the
 * state service asks. Who asks over HTTP is noted there.
 */
import { statSync } from "node:fs";
import { userInfo } from "node:os";
import { wallMs } from "../base/clock.ts";
import { randomBytes } from "../base/random.ts";
import type { AskedBy, AuditNote, AuditNotes as Notes } from "../wire/audit.ts";
import type { Query } from "../wire/messages.ts";
import type { Queries } from "../wire/queries.ts";

/** Some 300 bytes each. The state service looks each second. */
const NOTES_MAX = 2_000;
const TEXT_LENGTH_MAX = 200;

type Noted = Pick<AuditNote, "kind" | "did" | "subjects">;
type Noting = { readonly [M in keyof Queries]?: (params: Queries[M]["params"]) => Noted };

const NOTING: Noting = {
  "kill-actor": ({ actorId, noRestart }) => ({
    kind: "actor-kill",
    did: `killed actor ${actorId}${noRestart ? "" : ", which may start again"}`,
    subjects: [actorId],
  }),
  "remove-group": ({ groupId }) => ({
    kind: "group-removal",
    did: `removed placement group ${groupId}`,
    subjects: [groupId],
  }),
  "kill-worker": ({ workerId, reason }) => ({
    kind: "task-kill",
    did: `ended what ran in worker ${workerId} by force (${reason})`,
    subjects: [workerId],
  }),
  "drain-node": ({ node, deadlineMs }) => ({
    kind: "node-drain",
    did: `drained node ${node}, within ${Math.ceil(deadlineMs / 1_000)} s`,
    subjects: [node],
  }),
  "set-quota": ({ job, quota }) => ({
    kind: "quota-set",
    did:
      quota === null ? `took the quota of job ${job} away` : `set the quota of job ${job} to ${JSON.stringify(quota)}`,
    subjects: [job],
  }),
};

export class AuditNotes {
  private readonly run = randomBytes(8).toString("hex");
  private notes: AuditNote[] = [];
  private next = 1;
  /** Groups are asked for again until what ran in them has ended. */
  private last = "";

  /** @param process what the node knows of the asker: that goes before what it says itself. */
  heard({ method, params }: Pick<Query, "method" | "params">, role: AuditNote["role"], process: AskedBy): void {
    const describe = NOTING[method as keyof Queries] as ((params: unknown) => Noted) | undefined;
    if (!describe) return;
    const said = (params as { readonly by?: unknown } | null)?.by;
    const by = { ...cleaned(said), ...process };
    const noted = describe(params);
    const key = JSON.stringify([noted, by]);
    if (noted.kind === "group-removal" && key === this.last) return;
    this.last = key;
    this.notes.push({ seq: this.next++, atMs: wallMs(), role, by, ...noted });
    if (this.notes.length > 2 * NOTES_MAX) this.notes = this.notes.slice(-NOTES_MAX);
  }

  since(sinceMs: number): Notes {
    const kept = this.notes.slice(-NOTES_MAX);
    return {
      run: this.run,
      notes: kept.filter(({ atMs }) => atMs >= sinceMs),
      dropped: (kept[0]?.seq ?? this.next) - 1,
    };
  }
}

/** It comes from a program: it is text, and is bounded. */
function cleaned(said: unknown): AskedBy {
  if (typeof said !== "object" || said === null) return {};
  const entries: [string, string | number][] = [];
  for (const [key, value] of Object.entries(said) as [string, unknown][]) {
    if (typeof value === "number") entries.push([key, value]);
    else if (typeof value === "string")
      entries.push([key, value.slice(0, TEXT_LENGTH_MAX).replaceAll(/\p{Cc}/gu, " ")]);
  }
  return Object.fromEntries(entries);
}

/** Of a process of this machine, where the system says. */
export function userOf(pid: number): Pick<AskedBy, "user"> {
  try {
    const { uid } = statSync(`/proc/${pid}`);
    const own = userInfo();
    return { user: uid === own.uid ? own.username : `uid ${uid}` };
  } catch {
    return {}; // No /proc here, a user without a name, or the process has just ended.
  }
}
