/** A driver's I/O thread; started by `init()` as a worker thread. */
import { runIoThread } from "../driver/io-thread.ts";
import { runEntry } from "./entries.ts";

runEntry(() => runIoThread());
