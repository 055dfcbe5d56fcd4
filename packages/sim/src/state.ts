/** A state store over whatever takes commits: what is written down is read by its host, at its start. */
import type { ControlEffects } from "../../core/src/control/interface.ts";
import { createMemoryState, type StateStore } from "../../core/src/control/mod.ts";

export function stateOver(epoch: number, persist: ControlEffects["persist"]): StateStore {
  let revision = 0;
  return {
    ...createMemoryState(epoch),
    commit: (changes, done) =>
      persist(changes, (error) =>
        done(error ? { kind: "failed", error } : { kind: "committed", revision: ++revision }),
      ),
  };
}
