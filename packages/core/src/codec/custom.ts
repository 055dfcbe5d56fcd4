/**
 * How values that are not plain data join the graph that the codec writes: refs, handles, functions, classes, shared
 * scopes, instances with a registered serializer. The codec knows nothing of them; it keeps identity and cycles.
 */

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
}

/** A value under construction: `value` can already be pointed at, `finish` gives it its children. */
export interface Begun {
  readonly value: unknown;
  finish?(children: readonly unknown[]): void;
}

export interface Customizer {
  /** Called once for each object or function of the graph; undefined leaves it to the codec. */
  encode(value: object, session: EncodeSession): CustomNode | undefined;
  /** The inverse. */
  begin(tag: number, head: unknown, early: readonly unknown[]): Begun;
}

/** One submission: everything encoded with the same session shares identity (a captured variable and an argument). */
export interface EncodeSession {
  /** Where the codec now is, in JavaScript notation: `args[0].client`; for error messages. */
  path(): string;
}
