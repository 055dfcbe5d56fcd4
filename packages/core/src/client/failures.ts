/** Failures as they travel, to the errors that a program catches; and back. */
import { inspect } from "node:util";
import { errorFromCode, MobulaError, SerializationError } from "../base/errors.ts";
import type { NestedRef } from "../owner/mod.ts";
import { type FailureRecord, packFailure, unpackFailure } from "../wire/mod.ts";
import type { Values } from "./values.ts";

function errorFromFailure(failure: FailureRecord, values: Values): MobulaError {
  const { code, kind, message, cause, because } = failure;
  if (because) return errorFromCode(code, kind, message, { cause: errorFromFailure(because, values) });
  if (cause) return errorFromCode(code, kind, message, { cause: values.decode(cause) });
  return errorFromCode(code, kind, message);
}

export const errorFromBytes = (bytes: Uint8Array, values: Values): MobulaError =>
  errorFromFailure(unpackFailure(bytes), values);

export interface PackedFailure {
  readonly bytes: Uint8Array;
  readonly nested: readonly NestedRef[];
}

const RUNTIME_FRAME =
  /^\s+at (?:async )?.*(?:\/core\/src\/(?!\S*\.test\.)|\/mobula\/dist\/|mobula:guard|node:internal\/async_local_storage|node:vm[:)]|sigintHandlersWrap)/;

/** Leaves the user's own frames: what the runtime called on the way to them says nothing to the user. */
function hideRuntimeFrames(error: unknown): void {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { stack } = at;
    if (typeof stack !== "string" || at instanceof MobulaError) continue;
    const shown = stack
      .split("\n")
      .filter((line) => !RUNTIME_FRAME.test(line))
      .join("\n");
    if (shown !== stack) Object.defineProperty(at, "stack", { value: shown, configurable: true, writable: true });
  }
}

/** What user code threw, with `where` it ran, ready to travel. What cannot be shipped travels as its description. */
export function failureOf(thrown: unknown, name: string, where: string, values: Values): PackedFailure {
  const text = thrown instanceof Error ? thrown.message : inspect(thrown, { depth: 1 });
  const base = { code: "TASK_FAILED", kind: "task", language: "js" } as const;
  hideRuntimeFrames(thrown);
  const message = `${name} failed (${where}): ${text}`;
  try {
    const packed = values.encode(thrown, "error");
    return { bytes: packFailure({ ...base, message, cause: packed.toBytes() }), nested: values.nested(packed) };
  } catch (error) {
    const described = new Error(
      `${inspect(thrown, { depth: 2 })}\n(described, because the error itself cannot be shipped: ${error instanceof SerializationError ? error.message : String(error)})`,
    );
    if (thrown instanceof Error && thrown.stack) described.stack = thrown.stack;
    return { bytes: packFailure({ ...base, message, cause: values.encode(described, "error").toBytes() }), nested: [] };
  }
}
