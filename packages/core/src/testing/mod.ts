export { LocalCluster } from "./local-cluster.ts";
export type {
  ClusterMember,
  ClusterNode,
  ClusterServer,
  LocalClusterOptions,
  NodeSpec,
  WorkerProcess,
} from "./types.ts";
