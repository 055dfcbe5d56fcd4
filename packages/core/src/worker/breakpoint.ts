/** `inspect: "brk"`: what the program has is run when a debugger is there, and paused just before. */
import { waitForDebugger } from "node:inspector";

let isAttached = false;

export function pausing<Args extends readonly unknown[], Result>(
  fn: (...args: Args) => Result,
): (...args: Args) => Result {
  return (...args) => {
    // A debugger says once that it has attached.
    if (!isAttached) waitForDebugger();
    isAttached = true;
    // biome-ignore lint/suspicious/noDebugger: this is what was asked for. Step into the next line.
    debugger;
    return fn(...args);
  };
}
