/** Values that this home keeps for others, whose heir it is: what it goes on with when one of them is dead. */
import type { ObjectKey } from "../base/mod.ts";
import type { ValueRecord } from "../wire/messages.ts";
import type { HoldTable } from "./holds.ts";
import type { Home } from "./homes.ts";
import type { HeldKey } from "./keys.ts";

export interface KeptValues {
  /** Also again, with another value. */
  keep(home: Home, objects: readonly (readonly [ObjectKey, ValueRecord])[]): void;
  drop(home: Home, keys: readonly ObjectKey[]): void;
  of(home: Home): Iterable<readonly [ObjectKey, ValueRecord]>;
  /** What was kept for the one is for the other, which may have said of some of it what is newer. */
  move(home: Home, to: Home): void;
  /** Nothing is kept for it any more. What the values mention is held until `use` has returned. */
  take(home: Home, use: (values: Iterable<readonly [ObjectKey, ValueRecord]>) => void): void;
}

export function createKeptValues(holds: HoldTable, canonical: (key: HeldKey) => HeldKey): KeptValues {
  const byHome = new Map<Home, Map<ObjectKey, ValueRecord>>();
  const unmention = (value: ValueRecord): void => {
    for (const nested of value.nested) holds.unpin(canonical(nested));
  };

  return {
    keep(home, objects) {
      let values = byHome.get(home);
      if (!values) {
        values = new Map();
        byHome.set(home, values);
      }
      for (const [key, value] of objects) {
        for (const nested of value.nested) holds.pin(canonical(nested));
        const before = values.get(key);
        values.set(key, value);
        if (before) unmention(before);
      }
    },

    drop(home, keys) {
      const values = byHome.get(home);
      for (const key of keys) {
        const value = values?.get(key);
        if (!value) continue;
        values?.delete(key);
        unmention(value);
      }
      if (values?.size === 0) byHome.delete(home);
    },

    of: (home) => byHome.get(home) ?? [],

    move(home, to) {
      const values = byHome.get(home);
      if (!values || home === to) return;
      byHome.delete(home);
      const newer = byHome.get(to) ?? new Map<ObjectKey, ValueRecord>();
      byHome.set(to, newer);
      for (const [key, value] of values) {
        if (newer.has(key)) unmention(value);
        else newer.set(key, value);
      }
    },

    take(home, use) {
      const values = byHome.get(home);
      if (!values) return;
      byHome.delete(home);
      use(values);
      for (const value of values.values()) unmention(value);
    },
  };
}
