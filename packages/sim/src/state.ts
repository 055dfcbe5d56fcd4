/** A state store on a simulated disk. */

import type { StateEntry } from "../../core/src/control/kv.ts";
import { createMemoryState, type StateStore } from "../../core/src/control/mod.ts";
import type { Disk } from "./disk.ts";

export function stateOn(disk: Disk, epoch: number): StateStore {
  let revision = 0;
  const entries = (): StateEntry[] => disk.entries().map((entry) => ({ ...entry, revision: 1 }));
  return {
    ...createMemoryState(epoch),
    list: async (prefix) => entries().filter(({ key }) => key.startsWith(prefix)),
    get: async (key) => entries().find((entry) => entry.key === key),
    commit: (changes, done) =>
      disk.commit(changes, (error) =>
        done(error ? { kind: "failed", error } : { kind: "committed", revision: ++revision }),
      ),
  };
}
