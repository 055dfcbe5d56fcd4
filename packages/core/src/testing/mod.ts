export { LocalCluster } from "./local-cluster.ts";
export type { ClusterMember, ClusterNode, LocalClusterOptions, NodeSpec, WorkerProcess } from "./types.ts";
