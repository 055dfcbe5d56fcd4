/** What a test sees of the node's object store, and waiting for it to become so. */
import { setTimeout as delay } from "node:timers/promises";
import { nodes } from "mobula";

export interface StoreState {
  readonly usedBytes: number;
  readonly spilledBytes: number;
  readonly capacityBytes: number;
}

export async function storeState(): Promise<StoreState> {
  const [node] = await nodes();
  if (!node) throw new Error("there is no node");
  return node.objectStore;
}

/** The store changes in other processes' time: it can only be looked at again. */
export async function until(what: (state: StoreState) => boolean, timeoutMs = 5_000): Promise<StoreState> {
  for (const deadline = performance.now() + timeoutMs; ; await delay(20)) {
    const state = await storeState();
    if (what(state)) return state;
    if (performance.now() > deadline) throw new Error(`after ${timeoutMs} ms the store is ${JSON.stringify(state)}`);
  }
}

export const isEmpty = ({ usedBytes, spilledBytes }: StoreState): boolean => usedBytes === 0 && spilledBytes === 0;

/** A checksum that is cheap and depends on every byte's place (Adler's, on 32-bit words). */
export function checksum(bytes: Uint8Array): number {
  let a = 1;
  let b = 0;
  for (let at = 0; at < bytes.length; at++) {
    a = (a + (bytes[at] ?? 0)) % 65_521;
    b = (b + a) % 65_521;
  }
  return b * 65_536 + a;
}
