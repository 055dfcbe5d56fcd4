export { BulkLinks } from "./bulk-links.ts";
export { serveBulk } from "./bulk-server.ts";
export { Copies, type Tag } from "./copies.ts";
export { PRIORITY, Pulls } from "./pulls.ts";
