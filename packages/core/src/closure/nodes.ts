/** The tags of this room's nodes (1 to 15) and what their heads hold. */

/** Function or class by export: `[address, how, name]`. */
export const TAG_EXPORT = 1;
/** Layer: `[names, address, isLinked]`; early: the layer around it, or one for each name if linked. */
export const TAG_LAYER = 2;
/** Function or class by value: `packHead`; early: its layer if any, then values that a class needs to be made. */
export const TAG_UNIT = 3;
/** Intrinsic: its path. */
export const TAG_INTRINSIC = 4;
/** Imported again: `[address, how, name]`. */
export const TAG_IMPORT = 5;
/** Bound function: children are target, `this` and arguments. */
export const TAG_BOUND = 6;
/** Method of a class: `[isStatic, "value" | "get" | "set"]`; early: class and key. */
export const TAG_MEMBER = 7;
/** A class's prototype object; early: the class. */
export const TAG_PROTOTYPE = 8;
/** `promisify` of a function: early: the function. */
export const TAG_PROMISIFIED = 9;

/** One thing attached to a function; see `attached.ts`. */
export type AttachedKind =
  | "value"
  | "hidden"
  | "accessor"
  | "prototype"
  | "prototype-value"
  | "prototype-hidden"
  | "prototype-accessor"
  | "prototype-parent";

export interface UnitHead {
  readonly hash: string;
  /** The function's name, where its text does not give it. */
  readonly name: string | null;
  /** Names of the function's own copies of variables. */
  readonly names: readonly string[];
  /** Names bound to early values. */
  readonly early: readonly string[];
  /** The first child is the arrow function's `this`. */
  readonly hasThis: boolean;
  /** The first early value is the layer to run in. */
  readonly hasLayer: boolean;
  /** Of a class: the same in every process. */
  readonly id: string | undefined;
  readonly attached: readonly AttachedKind[];
}

/** As an array, without the parts at the end that most functions lack. */
export function packHead(head: UnitHead): unknown[] {
  const packed: unknown[] = [head.hash, head.names, (head.hasThis ? 1 : 0) | (head.hasLayer ? 2 : 0)];
  const rest = [head.name, head.early, head.id ?? null, head.attached] as const;
  const isUsed = [head.name !== null, head.early.length > 0, head.id !== undefined, head.attached.length > 0];
  return [...packed, ...rest.slice(0, isUsed.lastIndexOf(true) + 1)];
}

export function unpackHead(packed: unknown): UnitHead {
  // Written by `packHead` of the same version.
  const [hash, names, flags, name = null, early = [], id, attached = []] = packed as [
    string,
    string[],
    number,
    (string | null)?,
    string[]?,
    (string | null)?,
    AttachedKind[]?,
  ];
  return {
    hash,
    names,
    name,
    early,
    hasThis: (flags & 1) !== 0,
    hasLayer: (flags & 2) !== 0,
    id: id ?? undefined,
    attached,
  };
}
