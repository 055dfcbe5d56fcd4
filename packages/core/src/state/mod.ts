export { makeCode, readOnlyToken } from "./access.ts";
export { ROW_KINDS } from "./row-kinds.ts";
export type { Listed, Row, RowKind } from "./rows.ts";
