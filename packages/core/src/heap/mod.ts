export type { HeapGraph } from "./graph.ts";
export { SnapshotReader } from "./snapshot-reader.ts";
export { type ConstructorSize, type HeapSummary, summaryOf } from "./summary.ts";
export { type SuspendedChain, suspendedIn } from "./suspended.ts";
