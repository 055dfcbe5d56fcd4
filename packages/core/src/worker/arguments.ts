/** Brings a call's arguments together: stored ones are pinned and viewed, inline ones decoded. */
import { type ErrorKind, errorFromCode } from "../base/errors.ts";
import type { Client } from "../client/mod.ts";
import { errorFromBytes } from "../client/mod.ts";
import type { OwnerRuntime } from "../owner/mod.ts";
import type { StorePinned, ValueRecord } from "../wire/mod.ts";

type PinnedValue = ValueRecord | StorePinned;

/**
 * Values ready to be decoded; a promise only when some lie in the store. Every stored one is pinned once for this
 * process, and the pin goes with its views.
 */
export function fetchValues(
  runtime: OwnerRuntime,
  values: readonly ValueRecord[],
): readonly PinnedValue[] | Promise<readonly PinnedValue[]> {
  if (!values.some((value) => value.at === "stored")) return values;
  return Promise.all(values.map((value) => (value.at === "stored" ? runtime.pin(value.key) : value)));
}

/** Gives back the pins of values that were fetched, or are on their way, and will not be read. */
export function unpin(runtime: OwnerRuntime, fetched: ReturnType<typeof fetchValues> | undefined): void {
  if (fetched instanceof Promise) {
    void fetched.then((values) => unpin(runtime, values));
    return;
  }
  const keys = (fetched ?? []).flatMap((value) => ("t" in value && !value.error ? [value.key] : []));
  if (keys.length > 0) runtime.toNode({ t: "store-unpin", keys });
}

/** @throws the error that a value is, or that its store answered with. */
export function decodeValue(client: Client, value: PinnedValue): unknown {
  if ("t" in value) {
    const { error } = value;
    if (error) throw errorFromCode(error.code, error.kind as ErrorKind, error.message);
    const { store } = client;
    if (!store) throw errorFromCode("OBJECT_LOST", "lost", "there is no object store in this process");
    const source = store.map(value);
    try {
      return client.values.decode(source);
    } finally {
      source.done();
    }
  }
  if (value.at === "error") throw errorFromBytes(value.bytes, client.values);
  if (value.at === "inline") return client.values.decode(value.bytes);
  throw errorFromCode("INTERNAL", "internal", "a stored value was not fetched");
}
