/**
 * The thread that helps with large copies; started by the store as a worker thread.
 *
 * It loads nothing but what it runs: in a process that started from a snapshot, a thread that loads streams (as
 * `node:v8` and `node:net` do) ends the process by an assertion of Node.js.
 */
import { runCopyThread } from "../store/copy-helper-thread.ts";

runCopyThread();
