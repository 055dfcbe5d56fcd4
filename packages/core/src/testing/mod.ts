export { LocalCluster } from "./local-cluster.ts";
export type { ClusterNode, LocalClusterOptions, NodeSpec, WorkerProcess } from "./types.ts";
