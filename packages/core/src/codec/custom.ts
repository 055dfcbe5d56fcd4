/**
 * How values that are not plain data join the graph that the codec writes: refs, handles, functions, classes, shared
 * scopes, instances with a registered serializer. The codec knows nothing of them; it keeps identity and cycles.
 */
import { SerializationError } from "../base/errors.ts";

/** A node of the graph as a customizer describes it. */
export interface CustomNode {
  /** Which customizer understands it at the other end; 0..127, see `codec/README.md` for the list. */
  readonly tag: number;
  /** Plain MessagePack data (null, booleans, numbers, strings, bytes, arrays, string-keyed objects). */
  readonly head: unknown;
  /**
   * Values of the graph that must exist before the node's own value can be made (a base class before its subclass).
   * A cycle that leads back to the node through them is refused when written.
   */
  readonly early?: readonly unknown[];
  /** Values of the graph that are filled in afterwards, and may lead back to the node. */
  readonly children?: readonly unknown[];
  /**
   * What each child is called in error messages, in place of the path so far: `captured socket`. A name that begins
   * with `.` or `[` continues the path instead.
   */
  readonly childNames?: readonly string[];
  /** The same for `early`. */
  readonly earlyNames?: readonly string[];
  /** A ref or handle to report in `Packed.nested`. */
  readonly nested?: object;
}

/** A value under construction: `value` can already be pointed at, `finish` gives it its children. */
export interface Begun {
  readonly value: unknown;
  finish?(children: readonly unknown[]): void;
}

export interface Customizer {
  /**
   * Called once for each object or function of the graph that is not an ordinary array; undefined leaves it to the
   * codec. It is on the path of every plain object too, so it must say no quickly.
   */
  encode(value: object, session: EncodeSession): CustomNode | undefined;
  /** The inverse. */
  begin(tag: number, head: unknown, early: readonly unknown[]): Begun;
  /**
   * The same, faster, for a node that has nothing but a text as its head, given by its bytes: what comes in thousands.
   * Undefined leaves it to `begin`.
   */
  leaf?(tag: number, bytes: Buffer, start: number, end: number): object | undefined;
}

/** One submission: everything encoded with the same session shares identity (a captured variable and an argument). */
export interface EncodeSession {
  /** Where the codec now is, in JavaScript notation: `args[0].client`; for error messages. */
  path(): string;
}

/** Why a value cannot be shipped, in parts: where it is, what it is, what to do instead. */
export interface Problem {
  /** In JavaScript notation: `value.socket`. */
  readonly path: string;
  /** For example `"a promise"`. */
  readonly type: string;
  readonly advice: string;
}

const problems = new WeakMap<Error, Problem>();

/** The error for a value that cannot be shipped; its parts can be read again with {@link problemOf}. */
export function refusal(path: string, type: string, advice: string, options?: ErrorOptions): SerializationError {
  const error = new SerializationError(`${path} cannot be shipped: it is ${type}; ${advice}`, options);
  problems.set(error, { path, type, advice });
  return error;
}

/** The parts of an error made by {@link refusal}; undefined for any other error. */
export function problemOf(error: unknown): Problem | undefined {
  return error instanceof Error ? problems.get(error) : undefined;
}

/** One customizer out of several: `encode` asks them in order, `begin` goes to the one whose tags include the tag. */
export function combineCustomizers(
  parts: readonly { readonly firstTag: number; readonly lastTag: number; readonly customizer: Customizer }[],
): Customizer {
  return {
    encode(value, session) {
      for (const part of parts) {
        const node = part.customizer.encode(value, session);
        if (node) return node;
      }
      return undefined;
    },
    begin(tag, head, early) {
      for (const part of parts) {
        if (tag >= part.firstTag && tag <= part.lastTag) return part.customizer.begin(tag, head, early);
      }
      throw new SerializationError(`no part of this program understands values with tag ${tag}; update it`);
    },
    leaf(tag, bytes, start, end) {
      for (const part of parts) {
        if (tag >= part.firstTag && tag <= part.lastTag) return part.customizer.leaf?.(tag, bytes, start, end);
      }
      return undefined;
    },
  };
}
