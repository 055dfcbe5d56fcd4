/** Whether what is under way leads to a key: the ends that nobody else can see, because it has not left this process. */
import type { ObjectKey } from "../base/ids.ts";
import type { ObjectTable } from "./objects.ts";
import type { TaskRecord } from "./records.ts";

/** In the arguments of the tasks, what their functions have captured, and the values that these refer to. */
export function carries(objects: ObjectTable, tasks: Iterable<TaskRecord>, key: ObjectKey): boolean {
  const seen = new Set<ObjectKey>();
  const toVisit: ObjectKey[] = [];
  const visit = (names: readonly ObjectKey[]): void => {
    for (const name of names) {
      if (seen.has(name)) continue;
      seen.add(name);
      toVisit.push(name);
    }
  };
  for (const { nested, deps, registered } of tasks) {
    visit(nested);
    if (registered) visit(registered.use.captured);
    // The task that makes a missing one is among the tasks itself.
    for (const { value } of deps) if (value) visit(value.nested);
  }
  for (let name = toVisit.pop(); name !== undefined; name = toVisit.pop()) {
    if (name === key) return true;
    const { value } = objects.ownRecord(name) ?? {};
    if (value) visit(value.nested);
  }
  return false;
}
