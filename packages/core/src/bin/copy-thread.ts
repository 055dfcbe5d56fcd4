/** The thread that helps with large copies; started by the store as a worker thread. */
import { runCopyThread } from "../store/mod.ts";
import { runEntry } from "./entries.ts";

runEntry(() => runCopyThread());
