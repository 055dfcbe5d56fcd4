/** What Linux says of any process. */
import { readdirSync, readFileSync } from "node:fs";

/**
 * Fields of /proc/<pid>/stat from the state on; undefined for a process that is gone, and on systems without /proc. The
 * command's name, before the last parenthesis, may hold anything.
 */
export function procStat(pid: number): readonly string[] | undefined {
  const text = statText(pid);
  return text?.slice(text.lastIndexOf(")") + 2).split(" ");
}

/** Whether a thread of this name runs or waits for a processor, in a process that has others too. */
export function isThreadRunning(pid: number, name: string): boolean {
  let threads: string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return false;
  }
  return threads.some((thread) => statText(`${pid}/task/${thread}`)?.includes(` (${name}) R `));
}

/**
 * Whether the main thread waits in its event loop. With child processes it may as well wait for one of them within a
 * call: `execSync` has a loop of its own.
 */
export function isInEventLoop(pid: number): boolean {
  try {
    const waitsIn = readFileSync(`/proc/${pid}/wchan`, "latin1");
    return /epoll_wait|ep_poll/.test(waitsIn) && readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1") === "";
  } catch {
    // No such files here, or the process has ended.
    return false;
  }
}

function statText(of: number | string): string | undefined {
  try {
    return readFileSync(`/proc/${of}/stat`, "utf8");
  } catch {
    return undefined;
  }
}
