/** Failures as they travel, to the errors that a program catches; and back. */
import { inspect } from "node:util";
import { errorFromCode, MobulaError } from "../base/errors.ts";
import { shippableError } from "../codec/mod.ts";
import type { NestedRef } from "../owner/mod.ts";
import { type FailureRecord, LANGUAGE, packFailure, unpackFailure } from "../wire/mod.ts";
import type { Shippable } from "./needed-modules.ts";
import type { Values } from "./values.ts";

function errorFromFailure(failure: FailureRecord, values: Values): MobulaError {
  const { code, kind, message, cause, because } = failure;
  if (because) return arrived(code, kind, message, { cause: errorFromFailure(because, values) });
  if (cause) return arrived(code, kind, message, { cause: values.decode(cause) });
  return arrived(code, kind, message);
}

/** Without frames: they would be those of the runtime where the answer arrived. The cause has the user's own. */
function arrived(...[code, kind, message, options]: Parameters<typeof errorFromCode>): MobulaError {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return errorFromCode(code, kind, message, options);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

export const errorFromBytes = (bytes: Uint8Array, values: Values): MobulaError =>
  errorFromFailure(unpackFailure(bytes), values);

/** Something to wait for before a value, or the user's error inside a failure, can be read. */
export function prepareArrived(
  { at, bytes }: { readonly at: "inline" | "error"; readonly bytes: Uint8Array },
  values: Values,
): Promise<void> | undefined {
  if (at === "inline") return values.prepareForeign(bytes);
  if (!values.mayBeForeign) return undefined;
  let failure = unpackFailure(bytes);
  while (failure.because) failure = failure.because;
  return failure.cause && values.prepareForeign(failure.cause);
}

export interface PackedFailure {
  readonly bytes: Uint8Array;
  readonly nested: readonly NestedRef[];
}

const RUNTIME_FRAME =
  /^\s+at (?:async )?.*(?:\/core\/src\/(?!\S*\.test\.)|\/mobula\/dist\/|mobula:guard|node:internal\/async_local_storage|node:vm[:)]|sigintHandlersWrap)/;

/** Leaves the user's own frames: what the runtime called on the way to them says nothing to the user. */
function hideRuntimeFrames(error: unknown, values: Values): void {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { stack } = at;
    if (typeof stack !== "string" || at instanceof MobulaError) continue;
    const shown = values
      .asWritten(stack)
      .split("\n")
      .filter((line) => !RUNTIME_FRAME.test(line))
      .join("\n");
    if (shown !== stack) Object.defineProperty(at, "stack", { value: shown, configurable: true, writable: true });
  }
}

/** How many parts that were left out a message names. */
const LEFT_OUT_SHOWN_MAX = 8;

/**
 * What user code threw, with `where` it ran, ready to travel. Something in it that cannot be shipped is left out, and
 * named in the message.
 */
export function failureOf(thrown: unknown, name: string, where: string, values: Values): PackedFailure {
  const text = thrown instanceof Error ? thrown.message : inspect(thrown, { depth: 1 });
  const base = { code: "TASK_FAILED", kind: "task", language: LANGUAGE } as const;
  hideRuntimeFrames(thrown, values);
  const { packed, leftOut } = packThrown(thrown, values);
  const message = `${name} failed (${where}): ${text}${told(leftOut)}`;
  return { bytes: packFailure({ ...base, message, cause: packed.toBytes() }), nested: values.nested(packed) };
}

function packThrown(thrown: unknown, values: Values): { packed: Shippable; leftOut: readonly string[] } {
  try {
    return { packed: values.encode(thrown, "error"), leftOut: [] };
  } catch {
    // What is in the way is found part by part, and named.
    const { error, leftOut } = shippableError(thrown, (value, path) => void values.encode(value, path));
    return { packed: values.encode(error, "error"), leftOut };
  }
}

function told(leftOut: readonly string[]): string {
  if (leftOut.length === 0) return "";
  const shown = leftOut.slice(0, LEFT_OUT_SHOWN_MAX).join("; ");
  const more = leftOut.length - LEFT_OUT_SHOWN_MAX;
  return ` (left out, because it cannot be shipped: ${shown}${more > 0 ? `; and ${more} more` : ""})`;
}
