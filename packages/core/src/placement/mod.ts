export { ClusterView, type ClusterViewOptions, type NodeDelta } from "./cluster-view.ts";
export type { Explained } from "./explain.ts";
export { type Labels, parseSelector, type Selector } from "./labels.ts";
export { type Division, LeaseDivider, type LeaseRequest } from "./lease-divider.ts";
export type { Node, NodeState, NodeStatus, StoreUse } from "./node-state.ts";
export { type Decision, Placer } from "./placer.ts";
export type { LocalBytes, PlacementRequest, PlacementStrategy } from "./policy.ts";
export { type Preemption, preempt, type Victim } from "./preempt.ts";
export { Shape } from "./shape.ts";
