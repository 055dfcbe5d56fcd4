export { BulkLinks, type Fetch, GoneError } from "./bulk-links.ts";
export { type Reading, serveBulk } from "./bulk-server.ts";
export { Copies } from "./copies.ts";
export { hasPlenty, PeerRelief, type PeerReliefEffects } from "./peer-relief.ts";
export { PRIORITY, type Pulled, type PullStore, Pulls, type PullsOptions } from "./pulls.ts";
export type { StoreRoom } from "./replicas.ts";
export type { Tag } from "./trees.ts";
