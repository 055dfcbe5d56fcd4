/** Whether a process that uses the store is there; the kernel may still list one that is dead. */
import { readFileSync } from "node:fs";

/** False when no such process exists or it is only a zombie, whose memory is gone already. */
export function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  const state = statOf(pid)?.[0];
  return state !== "Z" && state !== "X";
}

/** Fields of /proc/<pid>/stat from the state on; the command's name before it may hold spaces and parentheses. */
function statOf(pid: number): readonly string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    // No /proc, or the process has just gone: the caller has what kill(pid, 0) said.
    return undefined;
  }
}
