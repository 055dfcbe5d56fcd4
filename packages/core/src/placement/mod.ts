export { describeResources } from "./amounts.ts";
export { ClusterView, type ClusterViewOptions, type NodeDelta } from "./cluster-view.ts";
export { type Explained, explainNow, explainPacked, explainShortly, sentenceOf, sentenceOfMany } from "./explain.ts";
export type { GangStrategy } from "./gang.ts";
export type { Bundle } from "./gang-kinds.ts";
export { GroupDivider, type GroupDivision } from "./group-divider.ts";
export {
  type BundleAnswer,
  GroupEngine,
  type GroupEngineOptions,
  type GroupPreemption,
  type GroupQuotas,
} from "./group-engine.ts";
export { GroupHost, type GroupHostEffects, type GroupPlaces, type GroupRoom } from "./group-host.ts";
export {
  type GroupCommand,
  type GroupEvent,
  type GroupId,
  type GroupRecord,
  type GroupSpec,
  OWN_ATTEMPT,
} from "./group-protocol.ts";
export { answerGroupQuery, isAboutGroups } from "./group-queries.ts";
export { GROUP_PREFIX } from "./group-records.ts";
export { REMOVED_GROUP_PREFIX } from "./group-removals.ts";
export { admits, isSelectorValue, type Labels, parseSelector, type Selector } from "./labels.ts";
export { type Division, LeaseDivider, type LeaseRequest } from "./lease-divider.ts";
export type { Node, NodeState, NodeStatus, StoreUse } from "./node-state.ts";
export { type Decision, Placer } from "./placer.ts";
export { type LocalBytes, PACK_BELOW, type PlacementRequest, type PlacementStrategy } from "./policy.ts";
export { type Preemption, preempt, type Victim } from "./preempt.ts";
export { Shape } from "./shape.ts";
