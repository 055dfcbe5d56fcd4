export { makeCode, readOnlyToken } from "./access.ts";
export { inspect } from "./inspect.ts";
export { ROW_KINDS } from "./row-kinds.ts";
export type { Listed, Overview, Row, RowKind } from "./rows.ts";
