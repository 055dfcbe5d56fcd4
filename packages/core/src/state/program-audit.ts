/** Who ended what, of what programs and tools have asked nodes and the head for: events of the audit log, each once. */
import type { AskedBy, AuditNote, AuditNotes } from "../wire/audit.ts";
import type { EventLog } from "./event-log.ts";

/** @param source of what may be very many. */
type Note = (source: string, event: Parameters<EventLog["add"]>[0]) => void;

/** What is asked for again, lest a slow clock hides some. */
export const AUDIT_AGAIN_MS = 60_000;
const RUNS_MAX = 10_000;
const KILLERS_MAX = 10_000;

export class ProgramAudit {
  private readonly note: Note;
  private readonly log: (line: string) => void;
  /** The last number that is known, by run. */
  private readonly seen = new Map<string, number>();
  /** Who has asked for the end of an actor. */
  private readonly killers = new Map<string, string>();

  constructor(note: Note, log: (line: string) => void) {
    this.note = note;
    this.log = log;
  }

  take({ run, notes, dropped }: AuditNotes): void {
    const known = this.seen.get(run) ?? 0;
    const lost = Math.max(0, dropped - known);
    const fresh = notes.filter(({ seq }) => seq > known);
    if (lost > 0 && fresh[0]) {
      const message = `${lost} requests before this were not kept by their node: it keeps the last 2000`;
      this.note(run, { atMs: fresh[0].atMs, severity: "warning", kind: "audit-gap", message, subjects: [] });
    }
    for (const one of fresh) this.add(one);
    const last = Math.max(known, dropped, fresh.at(-1)?.seq ?? 0);
    this.seen.delete(run);
    this.seen.set(run, last);
    forgetOldest(this.seen, RUNS_MAX);
  }

  killerOf(actorId: string): string | undefined {
    return this.killers.get(actorId);
  }

  private add(note: AuditNote): void {
    const { atMs, kind, did, subjects, by: asker } = note;
    const by = whoText(note);
    const [subject] = subjects;
    if (kind === "actor-kill" && subject !== undefined) {
      this.killers.set(subject, by);
      forgetOldest(this.killers, KILLERS_MAX);
    }
    const about = [asker.taskId, asker.actorId, asker.jobId].filter((id) => id !== undefined);
    const message = `${by} ${did}`;
    this.log(`audit: ${message}`);
    const source = asker.jobId ?? `${asker.host} ${asker.pid}`;
    this.note(source, { atMs, severity: "info", kind, message, subjects: [...subjects, ...about], by });
  }
}

/** `task train (5f…) in worker 4711 on one, of job 0b1c2d3e, user ada`. */
function whoText({ role, by }: Pick<AuditNote, "role" | "by">): string {
  const process = processText(role, by);
  const code = by.taskId === undefined ? "" : `${by.actorId ? "call" : "task"} ${by.name ?? ""} (${by.taskId}) in `;
  const of = [
    ...(by.jobId === undefined ? [] : [`of job ${by.jobId}`]),
    ...(by.user === undefined ? [] : [`user ${by.user}`]),
  ];
  return [`${code}${process}`, ...of].join(", ");
}

function processText(role: AuditNote["role"], { program, pid, host }: AskedBy): string {
  const what = role === "tool" ? (program ?? "a tool") : role;
  return `${what}${pid === undefined ? "" : ` ${role === "tool" ? `(pid ${pid})` : pid}`}${host === undefined ? "" : ` on ${host}`}`;
}

function forgetOldest(map: Map<string, unknown>, max: number): void {
  for (const key of map.keys()) {
    if (map.size <= max) return;
    map.delete(key);
  }
}
