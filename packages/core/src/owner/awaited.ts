/** What objects wait for that have no value: tasks and calls, and what those wait for that are not sent yet. */
import type { ObjectTable } from "./objects.ts";
import type { ObjectRecord } from "./records.ts";

/** `actor:<id>` or `task:<key>`, and the key of the call if it is an actor; else empty. */
export type Awaited = readonly [party: string, call: string];

/** Those of the objects that have no value, and what their tasks need to be sent. */
export function missingAmong(records: Iterable<ObjectRecord | undefined>): ReadonlySet<ObjectRecord> {
  const missing = new Set<ObjectRecord>();
  const add = (record: ObjectRecord | undefined): void => {
    if (!record || record.value || missing.has(record)) return;
    missing.add(record);
    for (const dep of depsOf(record)) add(dep);
  };
  for (const record of records) add(record);
  return missing;
}

/** What the task of an object waits for before it is sent. */
export const depsOf = ({ task }: ObjectRecord): readonly ObjectRecord[] => (task && task.missing > 0 ? task.deps : []);

/** Undefined for what nobody makes. */
export function awaitedFor(objects: ObjectTable, record: ObjectRecord): Awaited | undefined {
  if (record.isForeign) return [`task:${objects.keyOf(record)}`, ""];
  const { task } = record;
  if (!task) return undefined;
  const key = objects.ownKey(task.seq);
  return task.actor ? [`actor:${task.actor.actorId}`, key] : [`task:${key}`, ""];
}
