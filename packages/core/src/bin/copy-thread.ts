/** The thread that helps with large copies; started by the store as a worker thread. */
import { runCopyThread } from "../store/copy-helper-thread.ts";

runCopyThread();
