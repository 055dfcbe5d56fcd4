/** What can be listed; apart from its schemas, which a command line need not load. */
export const ROW_KINDS = [
  "nodes",
  "workers",
  "tasks",
  "actors",
  "objects",
  "placement-groups",
  "jobs",
  "events",
  "logs",
] as const;
export type RowKind = (typeof ROW_KINDS)[number];
