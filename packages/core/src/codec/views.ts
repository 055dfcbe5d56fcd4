/**
 * Kinds of ArrayBuffers and views, and how each is made again.
 */
import { malformed, VIEW_ARRAY_BUFFER, VIEW_BUFFER, VIEW_DATA_VIEW, VIEW_NAMES } from "./format.ts";

type TypedArrayConstructor = {
  new (buffer: ArrayBuffer, byteOffset?: number, length?: number): ArrayBufferView;
  readonly BYTES_PER_ELEMENT: number;
  readonly prototype: object;
};

// `globalThis` by name, since Float16Array is in neither every engine nor every type library.
const globals = globalThis as unknown as Readonly<Record<string, TypedArrayConstructor | undefined>>;

const constructors: readonly (TypedArrayConstructor | undefined)[] = VIEW_NAMES.map((name, kind) =>
  kind === VIEW_ARRAY_BUFFER || kind === VIEW_BUFFER || kind === VIEW_DATA_VIEW ? undefined : globals[name],
);

const kindByName = new Map<string, number>(VIEW_NAMES.map((name, kind) => [name, kind]));
const kindByPrototype = new Map<object, number>([
  [Buffer.prototype, VIEW_BUFFER],
  [DataView.prototype, VIEW_DATA_VIEW],
]);
for (const [kind, type] of constructors.entries()) {
  if (type) kindByPrototype.set(type.prototype, kind);
}

const typedArrayName = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)?.get;

/** What kind of view it is, whatever its class; `exact` tells that the prototype is the kind's own. */
export function viewKind(view: ArrayBufferView): { readonly kind: number; readonly exact: boolean } {
  const prototype: object | null = Object.getPrototypeOf(view);
  const known = prototype === null ? undefined : kindByPrototype.get(prototype);
  if (known !== undefined) return { kind: known, exact: true };
  if (view instanceof Buffer) return { kind: VIEW_BUFFER, exact: false };
  // The getter reads the internal slot: "Uint8Array" for a subclass too, undefined for a DataView.
  const name: unknown = typedArrayName?.call(view);
  const kind = typeof name === "string" ? kindByName.get(name) : VIEW_DATA_VIEW;
  if (kind === undefined) throw new TypeError(`unknown kind of view: ${String(name)}`);
  return { kind, exact: false };
}

function bytesPerElement(kind: number): number {
  return constructors[kind]?.BYTES_PER_ELEMENT ?? 1;
}

/** Makes the view of a kind; `byteLength` undefined follows the buffer's length. */
export function makeView(
  kind: number,
  buffer: ArrayBuffer,
  byteOffset: number,
  byteLength: number | undefined,
): object {
  if (kind === VIEW_ARRAY_BUFFER) return buffer;
  if (kind === VIEW_BUFFER) return Buffer.from(buffer, byteOffset, byteLength);
  if (kind === VIEW_DATA_VIEW) return new DataView(buffer, byteOffset, byteLength);
  const type = constructors[kind];
  if (!type) throw malformed(`view kind ${kind} (${VIEW_NAMES[kind] ?? "unknown"}) does not exist here`);
  if (byteLength === undefined) return new type(buffer, byteOffset);
  if (byteLength % type.BYTES_PER_ELEMENT !== 0 || byteOffset % type.BYTES_PER_ELEMENT !== 0) {
    throw malformed(`a ${VIEW_NAMES[kind]} of ${byteLength} bytes at ${byteOffset}`);
  }
  return new type(buffer, byteOffset, byteLength / type.BYTES_PER_ELEMENT);
}

/**
 * Whether a view follows the length of its resizable buffer. The language does not say, so the buffer is resized by one
 * element and back, with the bytes that shrinking would clear saved; nothing else can run meanwhile.
 */
export function isLengthTracking(view: ArrayBufferView, kind: number): boolean {
  const buffer = view.buffer;
  if (!(buffer instanceof ArrayBuffer) || !buffer.resizable) return false;
  const step = bytesPerElement(kind);
  const before = buffer.byteLength;
  const viewBefore = view.byteLength;
  if (view.byteOffset + viewBefore + step <= before) return false;
  if (before + step <= buffer.maxByteLength) {
    buffer.resize(before + step);
    const follows = view.byteLength > viewBefore;
    buffer.resize(before);
    return follows;
  }
  const tail = new Uint8Array(buffer.slice(before - step));
  buffer.resize(before - step);
  const follows = isInBounds(view);
  buffer.resize(before);
  new Uint8Array(buffer, before - step).set(tail);
  return follows;
}

function isInBounds(view: ArrayBufferView): boolean {
  try {
    // Both throw when a view of fixed length reaches past the end of its buffer.
    if (view instanceof DataView) return view.byteLength >= 0;
    (view as Uint8Array).keys();
    return true;
  } catch {
    return false;
  }
}
