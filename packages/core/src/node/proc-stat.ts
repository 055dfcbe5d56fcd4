/** What Linux says of any process. */
import { readFileSync } from "node:fs";

/**
 * Fields of /proc/<pid>/stat from the state on; undefined for a process that is gone, and on systems without /proc. The
 * command's name, before the last parenthesis, may hold anything.
 */
export function procStat(pid: number): readonly string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}
