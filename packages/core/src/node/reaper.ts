/**
 * Tidies up after a node that was killed, when nobody else is left to do it: a shell that waits for the end of a pipe
 * whose other end only the node has. It costs less than a megabyte; only if the node's folder is still there when the
 * pipe ends does it turn into the program that kills what is left and removes the folder.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { entryPath } from "../bin/entries.ts";
import { NODE_VARIABLE } from "./config.ts";

const SCRIPT = 'read -r _; if [ -d "$1" ]; then folder=$1; shift; exec "$@" "$folder"; fi';

/** Call its result at an orderly end, so that nothing of it outlives the node; resolves when it has ended. */
export function startReaper(sessionDir: string, log: (message: string) => void): () => Promise<void> {
  const { path, execArgv } = entryPath("tidy");
  const { [NODE_VARIABLE]: _config, ...env } = process.env;
  const args = ["-c", SCRIPT, "mobula-reaper", sessionDir, process.execPath, ...execArgv, path];
  // A group of its own: what ends the node's group does not end it.
  const child: ChildProcess = spawn("/bin/sh", args, {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
    cwd: "/",
    env,
  });
  child.once("error", (error) => log(`nothing tidies up if this node and its driver are killed: ${error.message}`));
  // It may be killed like any process; then the pipe breaks.
  child.stdin?.on("error", () => {});
  child.unref();
  (child.stdin as unknown as { unref?(): void } | null)?.unref?.();
  return () =>
    new Promise((resolve) => {
      child.once("exit", () => resolve());
      if (!child.kill("SIGKILL")) resolve();
    });
}
