export { makeCode, readOnlyToken, type Verdict } from "./access.ts";
export { actorsCalled } from "./actors-called.ts";
export { inspect, inspected } from "./inspect.ts";
export { LogReader } from "./log-routes.ts";
export { ROW_KINDS } from "./row-kinds.ts";
export type { Listed, Overview, Progress, Row, RowKind, TaskDetail } from "./rows.ts";
export type { StateService } from "./service.ts";
