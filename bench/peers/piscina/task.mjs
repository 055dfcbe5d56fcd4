import { threadId } from "node:worker_threads";
import { stamp } from "../../harness/evidence.ts";

export default () => stamp(threadId);
