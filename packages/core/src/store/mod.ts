export type { Backing } from "./arena.ts";
export { mapClaims } from "./claim-pages.ts";
export {
  openStoreClient,
  type StoreClient,
  type StoreClientOptions,
  type WritableAllocation,
  type WriteTarget,
} from "./client.ts";
export { runCopyThread } from "./copy-helper-thread.ts";
export type { OwnedKey } from "./engine.ts";
export type { StoreStats } from "./engine-events.ts";
export { createGcPressure, type GcPressure, type GcPressureOptions } from "./gc-pressure.ts";
export { describeBytes } from "./holders.ts";
export type { StoredBytes } from "./mappings.ts";
export { createMemfd, dieWithParent, trimHeap } from "./memory.ts";
export { koffi, nativePath, useNativePath } from "./native.ts";
export { type NativeThread, startNativeThread } from "./native-thread.ts";
export type { OpenObject, Place, Room } from "./node-access.ts";
export {
  type StorePeers,
  type StoreServer,
  type StoreServerEvent,
  type StoreServerOptions,
  startStore,
} from "./server.ts";
export { createViewCharge } from "./view-charge.ts";
