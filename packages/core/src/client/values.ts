/**
 * Values to bytes and back, as one process ships them: the codec, with functions (closure), refs and handles joined in.
 *
 * Top-level refs among a call's arguments are no part of the value: they become placeholders, which the worker replaces
 * by the values that the owner sends along.
 */
import { InternalError } from "../base/errors.ts";
import { type ActorId, type ObjectKey, objectKeyOwner, objectKeySeq, type ProcessId, type Seq } from "../base/ids.ts";
import { KeyReader } from "../base/key-reader.ts";
import { INLINE_BYTES_MAX, INLINE_CALL_BYTES_MAX } from "../base/limits.ts";
import {
  type Captured,
  collectCode,
  createFunctionCustomizer,
  type FunctionCustomizer,
  NOTHING_CAPTURED,
} from "../closure/mod.ts";
import {
  type ByteSource,
  type Customizer,
  combineCustomizers,
  decode,
  encode,
  inspectSerializability,
  SerializerRegistry,
} from "../codec/mod.ts";
import type { NestedRef } from "../owner/mod.ts";
import type { ForeignCode } from "./foreign-code.ts";
import { Handle, type HandleMeta, handleState, usableHandle } from "./handles.ts";
import { type NeededCode, type Shippable, splitModules, ValueWithModules } from "./needed-modules.ts";
import { isRef, Ref } from "./refs.ts";
import { notShippable, RefStream } from "./streams.ts";

const TAG_PLACEHOLDER = 16;
const TAG_REF = 17;
const TAG_HANDLE = 18;

/** Stands in the arguments for the value of the n-th dependency. */
class Placeholder {
  readonly index: number;
  constructor(index: number) {
    this.index = index;
  }
}

/** Kinds of values that rooms above this one ship in a way of their own: remote functions and classes. */
const extensions: { readonly firstTag: number; readonly lastTag: number; readonly customizer: Customizer }[] = [];

/** Tags 19 to 31; call while the module that knows the kind is loaded, before any client exists. */
export function shipByCustomizer(firstTag: number, lastTag: number, customizer: Customizer): void {
  extensions.push({ firstTag, lastTag, customizer });
}

/** What the client does for refs and handles that appear in values. */
export interface RefHost {
  /** Makes the owner know the ref where needed. */
  tellOwner(ref: Ref): void;
  /** The same, and gives the name by which everybody knows it. */
  keyOf(ref: Ref): ObjectKey;
  adoptRef(owner: ProcessId, ownerSeq: Seq): Ref;
  adoptHandle(actorId: ActorId, meta: HandleMeta): Handle;
  /** Where modules come from that values name; undefined where there is no other machine. */
  readonly code?: ForeignCode;
  /** Makes a stored argument an object of its own. */
  putLarge(packed: Shippable): Ref;
}

/** A function or class, packed once for all its calls. */
export interface PackedCode {
  readonly bytes: Uint8Array;
  /** Refs and handles that were captured. */
  readonly nested: readonly NestedRef[];
  /** What was packed. */
  readonly parts: readonly unknown[];
  readonly captured: Captured;
}

export const NO_CODE: PackedCode = { bytes: new Uint8Array(0), nested: [], parts: [], captured: NOTHING_CAPTURED };

/** Arguments that came with the code that they share variables with: what is packed of it there is not for them. */
export interface ArgsWithCode {
  readonly code: readonly unknown[];
  readonly args: unknown[];
}

export interface EncodedArgs {
  readonly args: Uint8Array;
  /** Variables which functions among them share with the code that is called; it then travels with them. */
  readonly shared: readonly string[];
  readonly deps: readonly Seq[];
  readonly nested: readonly NestedRef[];
  /** Held until the call has been submitted, so that no number is released under it. */
  readonly held: readonly Ref[];
}

export type SerializerList = ReturnType<SerializerRegistry["list"]>;

const NONE: readonly never[] = Object.freeze([]);

export class Values {
  readonly serializers = new SerializerRegistry();
  private readonly host: RefHost;
  private readonly customizer: Customizer;
  private readonly functions: FunctionCustomizer;
  private dependencies: readonly unknown[] = NONE;
  private noArgs: EncodedArgs | undefined;

  constructor(host: RefHost) {
    this.host = host;
    this.functions = createFunctionCustomizer();
    this.customizer = combineCustomizers([
      { firstTag: TAG_PLACEHOLDER, lastTag: TAG_HANDLE, customizer: this.refs() },
      ...extensions,
      { firstTag: 1, lastTag: 15, customizer: this.functions },
    ]);
  }

  /** @param root what the value is called in messages: "value", "result", "captured". */
  encode(value: unknown, root: string): Shippable {
    return this.pack(value, root).packed;
  }

  private pack(value: unknown, root: string): { packed: Shippable; captured: Captured } {
    const { result, needs } = collectCode(() =>
      encode(value, { root, customizer: this.customizer, serializers: this.serializers }),
    );
    const { modules, origins, captured } = needs;
    // The text of functions is in the value itself, where the first of each is.
    if (modules.length === 0 && origins.length === 0) return { packed: result, captured };
    const needed = this.host.code?.needed(modules, origins) ?? modules;
    const isAlone = Array.isArray(needed) && needed.length === 0;
    return { packed: isAlone ? result : new ValueWithModules(result, needed), captured };
  }

  /** With the code go the serializers that the program has registered, so that they hold where it runs. */
  encodeCode(parts: readonly unknown[]): PackedCode {
    const { serializers } = this;
    const { packed, captured } = this.pack(serializers.size === 0 ? parts : [...parts, serializers.list()], "captured");
    return { bytes: packed.toBytes(), nested: this.nested(packed), parts, captured };
  }

  /** Serializers that came with a function or class hold here from now on. */
  learn(serializers: SerializerList | undefined): void {
    for (const [type, serializer] of serializers ?? []) {
      if (this.serializers.find(type) === undefined) this.serializers.register(type, serializer);
    }
  }

  inspect(value: unknown): ReturnType<typeof inspectSerializability> {
    return inspectSerializability(value, { customizer: this.customizer, serializers: this.serializers });
  }

  /** Something to await before {@link decode}, because the value's code waits at the top level of its modules. */
  prepare(source: Uint8Array | ByteSource): Promise<void> | undefined {
    const split = splitModules(source);
    if (!split) return undefined;
    const { needed } = split;
    if (!isElsewhere(needed)) return this.functions.importModules(needed);
    return this.prepareFrom(needed, this.host.code?.obtain(needed));
  }

  /** A stack, with the names of files as they are where the program runs. */
  asWritten(stack: string): string {
    return this.host.code?.asWritten(stack) ?? stack;
  }

  /** False where there is no other machine that modules could come from. */
  get mayBeForeign(): boolean {
    return this.host.code?.isInCluster === true;
  }

  /** The same, where only modules that must come from another machine are worth waiting for. */
  prepareForeign(source: Uint8Array | ByteSource): Promise<void> | undefined {
    const { code } = this.host;
    const needed = code?.isInCluster ? splitModules(source)?.needed : undefined;
    const coming = needed && isElsewhere(needed) ? code?.obtain(needed) : undefined;
    return coming && this.prepareFrom(needed as NeededCode, coming);
  }

  private async prepareFrom(needed: NeededCode, coming: Promise<void> | undefined): Promise<void> {
    const { code } = this.host;
    await coming;
    try {
      await this.reading(needed, () => this.functions.importModules(needed.modules));
    } catch (error) {
      throw code ? code.explain(needed, error) : error;
    }
  }

  decode(source: Uint8Array | ByteSource): unknown {
    const split = splitModules(source);
    const read = (): unknown =>
      decode(split?.value ?? source, { customizer: this.customizer, serializers: this.serializers });
    return split && isElsewhere(split.needed) ? this.reading(split.needed, read) : read();
  }

  private reading<T>(needed: NeededCode, read: () => T): T {
    const { code } = this.host;
    return code ? code.reading(needed, read) : read();
  }

  /** @param code what is called, unless it is there already: its variables may be shared by functions among `args`. */
  encodeArgs(args: readonly unknown[], code: PackedCode = NO_CODE): EncodedArgs {
    if (args.length === 0) {
      this.noArgs ??= { args: this.encode([], "args").toBytes(), shared: NONE, deps: NONE, nested: NONE, held: NONE };
      return this.noArgs;
    }
    let deps: Seq[] | undefined;
    let held: Ref[] | undefined;
    let sent: unknown[] | undefined;
    for (let index = 0; index < args.length; index++) {
      const arg = args[index];
      if (!(arg instanceof Ref)) continue;
      sent ??= [...args];
      deps ??= [];
      held ??= [];
      this.host.tellOwner(arg);
      sent[index] = new Placeholder(deps.length);
      deps.push(arg.seq);
      held.push(arg);
    }
    const { packed, captured } = this.pack(sent ?? args, "args");
    const shared = captured === NOTHING_CAPTURED ? NONE : this.sharedWith(code, captured, sent ?? args);
    if (packed.byteLength <= INLINE_BYTES_MAX && shared.length === 0) {
      return { args: packed.toBytes(), shared, deps: deps ?? NONE, nested: this.nested(packed), held: held ?? NONE };
    }
    return this.encodeApart(sent ?? [...args], deps ?? [], held ?? [], shared, code);
  }

  /** The names of the variables that `args` and `code` share: those that are fewer when both are packed together. */
  private sharedWith(code: PackedCode, captured: Captured, args: readonly unknown[]): readonly string[] {
    const objects = [...captured.objects].flatMap(([object, name]) => (code.captured.objects.has(object) ? name : []));
    if (code.captured.variables.length === 0 || captured.variables.length === 0) return objects;
    const together = this.pack({ code: code.parts, args }, "call").captured;
    const left = [...together.variables];
    const shared = [...code.captured.variables, ...captured.variables].filter((name) => {
      const at = left.indexOf(name);
      if (at >= 0) left.splice(at, 1);
      return at < 0;
    });
    return [...objects, ...shared];
  }

  /** Each argument that is too large to travel in the message becomes an object, as if the program had put it. */
  private encodeApart(
    sent: unknown[],
    deps: Seq[],
    held: Ref[],
    shared: readonly string[],
    code: PackedCode,
  ): EncodedArgs {
    let inlineBytes = 0;
    for (let index = 0; index < sent.length; index++) {
      const arg = sent[index];
      if (arg instanceof Placeholder) continue;
      const { packed, captured } = this.pack(arg, `args[${index}]`);
      // What may share something with the code stays where that is.
      if (shared.length > 0 && captured !== NOTHING_CAPTURED) continue;
      inlineBytes += packed.byteLength;
      if (packed.byteLength <= INLINE_BYTES_MAX && inlineBytes <= INLINE_CALL_BYTES_MAX) continue;
      const ref = this.host.putLarge(packed);
      sent[index] = new Placeholder(deps.length);
      deps.push(ref.seq);
      held.push(ref);
    }
    const withCode: ArgsWithCode = { code: code.parts, args: sent };
    const packed = shared.length > 0 ? this.encode(withCode, "call") : this.encode(sent, "args");
    return { args: packed.toBytes(), shared, deps, nested: this.nested(packed), held };
  }

  decodeArgs(args: Uint8Array, dependencies: readonly unknown[]): unknown[] {
    const decoded = this.decodeCall(args, dependencies);
    if (!Array.isArray(decoded)) throw new InternalError("arguments arrived that are not a list");
    return decoded;
  }

  /** The arguments, with the code to call where it came along. */
  decodeCall(args: Uint8Array, dependencies: readonly unknown[]): unknown[] | ArgsWithCode {
    this.dependencies = dependencies;
    try {
      // Packed by `encodeArgs` of the same version of this package.
      return this.decode(args) as unknown[] | ArgsWithCode;
    } finally {
      this.dependencies = NONE;
    }
  }

  /** Refs and handles inside an encoded value, as the owner engine names them. */
  nested(packed: Shippable): readonly NestedRef[] {
    if (packed.nested.length === 0) return NONE;
    return packed.nested.map((ref) => {
      if (isRef(ref)) return ref.foreignKey ?? ref.seq;
      if (ref instanceof Handle) return handleState(ref).actorId as string as ObjectKey;
      throw new InternalError("a value reported something that is neither a ref nor a handle");
    });
  }

  private refs(): Customizer {
    const keys = new KeyReader();
    return {
      encode: (value) => {
        if (value instanceof Placeholder) return { tag: TAG_PLACEHOLDER, head: value.index };
        if (value instanceof Ref) return { tag: TAG_REF, head: this.host.keyOf(value), nested: value };
        if (value instanceof Handle) {
          const { actorId, meta } = usableHandle(value);
          return { tag: TAG_HANDLE, head: [actorId, meta.plain], nested: value };
        }
        if (value instanceof RefStream) return notShippable();
        return undefined;
      },
      begin: (tag, head) => {
        if (tag === TAG_PLACEHOLDER) return { value: this.dependencies[head as number] };
        if (tag === TAG_REF) {
          const key = head as ObjectKey;
          return { value: this.host.adoptRef(objectKeyOwner(key), objectKeySeq(key)) };
        }
        const [actorId, meta] = head as [ActorId, HandleMeta["plain"]];
        return { value: this.host.adoptHandle(actorId, Handle.metaFrom(meta)) };
      },
      leaf: (tag, bytes, start, end) =>
        tag === TAG_REF && keys.read(bytes, start, end) ? this.host.adoptRef(keys.owner, keys.seq) : undefined,
    };
  }
}

const isElsewhere = (needed: readonly string[] | NeededCode): needed is NeededCode => !Array.isArray(needed);
