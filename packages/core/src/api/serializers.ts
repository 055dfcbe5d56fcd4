/** Values that the codec cannot ship by itself. */
import { createFunctionCustomizer } from "../closure/mod.ts";
import type { AnyClass as CodecClass, Problem, Serializer } from "../codec/mod.ts";
import { inspectSerializability as inspect } from "../codec/mod.ts";
import { findCurrent, registered } from "./current.ts";

/**
 * Ships instances of `type` as what `serialize` returns, and makes them again with `deserialize`, in every process.
 * Both must be shippable functions. Holds for exactly this class, in both directions, also for workers that already run.
 */
export function registerSerializer<T extends object, D>(
  type: (abstract new (...args: never[]) => T) & { readonly prototype: T },
  serializer: { readonly serialize: (instance: T) => D; readonly deserialize: (data: D) => T },
): void {
  // The registry hands each serializer only instances of its class, and its own data.
  const untyped = serializer as unknown as Serializer;
  registered.register(type as unknown as CodecClass, untyped);
  findCurrent()?.client.values.serializers.register(type as unknown as CodecClass, untyped);
}

/** What `inspectSerializability` found. */
export interface SerializabilityReport {
  /** Whether the value can be shipped. */
  readonly ok: boolean;
  readonly problems: readonly Problem[];
}

/** Tells everything in a value that could not be shipped, in the words of the SerializationError. Works before `init`. */
export function inspectSerializability(value: unknown): SerializabilityReport {
  const current = findCurrent();
  if (current) return current.client.values.inspect(value);
  return inspect(value, { customizer: createFunctionCustomizer(), serializers: registered });
}
