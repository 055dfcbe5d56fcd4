/** What the system says a worker's process is doing now. */
import { readFileSync } from "node:fs";

/** A sentence, or undefined where the system cannot be asked (no /proc) or the process is gone. */
export function describeProcess(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // The name in the second field may hold blanks and parentheses; the state follows the last one.
  const state = stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3);
  switch (state) {
    case "T":
    case "t":
      return `Process ${pid} is stopped by a signal (SIGSTOP) or a debugger: it goes on after \`kill -CONT ${pid}\`.`;
    case "R":
      return `Process ${pid} is computing.`;
    case "D":
      return `Process ${pid} waits for a disk or a network file system.`;
    case "S":
      return `Process ${pid} is not computing: it waits for a timer, input and output, or a promise.`;
    case "Z":
    case "X":
      return `Process ${pid} has just ended.`;
    default:
      return undefined;
  }
}
