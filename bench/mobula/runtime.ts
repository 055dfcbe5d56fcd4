import { init } from "mobula";
import type { OpenOptions } from "../harness/protocol.ts";

/** Defaults, but for as many CPUs and as large a store as the peer gets. */
export async function openMobula({ cpus, storeBytes }: OpenOptions): Promise<void> {
  await init({ resources: { cpu: cpus }, objectStoreBytes: storeBytes });
}
