/**
 * The arguments of a task or a call: brought together before it runs (stored ones pinned and viewed, inline ones
 * decoded), and let go of after it, or when it is not going to run.
 */
import { type ErrorKind, errorFromCode } from "../base/errors.ts";
import type { ObjectKey, StoredName } from "../base/ids.ts";
import type { ArgsWithCode, Client } from "../client/mod.ts";
import { errorFromBytes, prepareArrived } from "../client/mod.ts";
import type { OwnerRuntime } from "../owner/mod.ts";
import type { StoredBytes } from "../store/mod.ts";
import type { StoredValue, StorePinned, ValueRecord } from "../wire/mod.ts";

/** What was pinned may be mapped already, to see what it needs. */
type FetchedValue = ValueRecord | StorePinned | { readonly mapped: StoredBytes };

/** What the messages of tasks and of calls have in common. */
export interface WithArguments {
  readonly args: Uint8Array;
  /** Refs and handles inside the arguments, granted to this process by the sender. */
  readonly nested: readonly ObjectKey[];
  /** Values of the arguments that were refs. */
  readonly deps: readonly ValueRecord[];
  /** Those values on their way from the store since the message came, or there. */
  fetched: ReturnType<typeof fetchValues> | undefined;
}

/** Takes over the refs that came with a message; each is used until {@link releaseRefs}. */
export function receiveRefs(runtime: OwnerRuntime, { nested, deps }: WithArguments): void {
  const { holds } = runtime.engine.objects;
  if (nested.length > 0) holds.receive(nested);
  for (const dep of deps) if (dep.nested.length > 0) holds.receive(dep.nested);
}

export function releaseRefs(runtime: OwnerRuntime, { nested, deps }: WithArguments): void {
  if (nested.length === 0 && deps.length === 0) return;
  const { holds } = runtime.engine.objects;
  let isReleased = false;
  for (const keys of [nested, ...deps.map((dep) => dep.nested)]) {
    if (keys.length === 0) continue;
    holds.drop(keys);
    isReleased = true;
  }
  if (isReleased) runtime.schedule();
}

/** For a message whose refs were received and which is not going to run: what was granted and pinned goes back. */
export function dropArguments(runtime: OwnerRuntime, message: WithArguments): void {
  releaseRefs(runtime, message);
  unpin(runtime, message.fetched);
}

/** The arguments, once what lay in the store has been fetched. @throws the error that one of them is. */
export function decodeArguments(client: Client, message: WithArguments): unknown[] {
  return client.values.decodeArgs(message.args, dependenciesOf(client, message));
}

/** The same, with the code to call where that came along. */
export function decodeCall(client: Client, message: WithArguments): unknown[] | ArgsWithCode {
  return client.values.decodeCall(message.args, dependenciesOf(client, message));
}

function dependenciesOf(client: Client, { fetched }: WithArguments): readonly unknown[] {
  const values = fetched as readonly FetchedValue[] | undefined;
  const lost = (values ?? []).flatMap((value) =>
    "t" in value && value.error?.code === "OBJECT_LOST" ? [value.name] : [],
  );
  if (lost.length > 0) throw new ArgumentsLost(lost);
  return values ? values.map((value) => decodeValue(client, value)) : NO_VALUES;
}

/** These arguments are not to be had; nothing was decoded. */
export class ArgumentsLost extends Error {
  readonly names: readonly StoredName[];

  constructor(names: readonly StoredName[]) {
    super("stored arguments are lost");
    this.names = names;
  }
}

const NO_VALUES: readonly unknown[] = Object.freeze([]);

/**
 * Values ready to be decoded; a promise only when some lie in the store. Every stored one is pinned once for this
 * process, and the pin goes with its views.
 */
export function fetchValues(
  runtime: OwnerRuntime,
  values: readonly ValueRecord[],
): readonly FetchedValue[] | Promise<readonly FetchedValue[]> {
  if (!values.some((value) => value.at === "stored")) return values;
  return Promise.all(values.map((value) => (value.at === "stored" ? runtime.pin(value) : value)));
}

/** Gives back the pins of values that were fetched, or are on their way, and will not be read. */
export function unpin(runtime: OwnerRuntime, fetched: ReturnType<typeof fetchValues> | undefined): void {
  if (fetched instanceof Promise) {
    fetched.then(
      (values) => unpin(runtime, values),
      () => {}, // Nothing was pinned.
    );
    return;
  }
  for (const value of fetched ?? []) if ("mapped" in value) value.mapped.done();
  const keys = (fetched ?? []).flatMap((value) => ("t" in value && !value.error ? [value.key] : []));
  if (keys.length > 0) runtime.toNode({ t: "store-unpin", keys });
}

/** @throws the error that a value is, or that its store answered with. */
export function decodeValue(client: Client, value: FetchedValue): unknown {
  if ("t" in value || "mapped" in value) {
    const source = "mapped" in value ? value.mapped : map(client, value);
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

function map(client: Client, pinned: StorePinned): StoredBytes {
  const { error } = pinned;
  if (error) throw errorFromCode(error.code, error.kind as ErrorKind, error.message);
  const { store } = client;
  if (!store) throw errorFromCode("OBJECT_LOST", "lost", "there is no object store in this process");
  return store.map(pinned);
}

/**
 * Something to wait for before the arguments of a message, which are there, can be decoded: modules that wait at their top
 * level, or come from another machine.
 */
export function prepareArguments(client: Client, message: WithArguments): Promise<unknown> | undefined {
  const { values } = client;
  const own = values.prepare(message.args);
  const { fetched } = message;
  if (!values.mayBeForeign || !fetched || fetched instanceof Promise || fetched.length === 0) return own;
  const coming: Promise<void>[] = own ? [own] : [];
  message.fetched = fetched.map((value) => {
    if ("mapped" in value || ("t" in value ? value.error !== undefined : value.at === "stored")) return value;
    const mapped = "t" in value ? map(client, value) : undefined;
    const needed = mapped
      ? values.prepareForeign(mapped)
      : prepareArrived(value as Exclude<ValueRecord, StoredValue>, values);
    if (needed) coming.push(needed);
    return mapped ? { mapped } : value;
  });
  return coming.length === 0 ? undefined : Promise.all(coming);
}
