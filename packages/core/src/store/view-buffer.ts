/**
 * ArrayBuffers over memory of the store, made by V8 itself instead of through Node-API.
 *
 * Node-API's have two faults here. V8 charges their length to its heap, and begins a collection for every 64 MiB that
 * came, though the memory is not the process's own. And nobody can learn when their memory is out of reach: the
 * ArrayBuffer may be collected while `transfer()` has moved its memory to another one (byte streams do that with every
 * chunk), which would then show an unmapped place.
 *
 * V8 charges nothing for memory whose deleter is the empty one, and counts who uses a memory in a `std::shared_ptr`, of
 * which this keeps a part: the memory is out of reach when that part is the last.
 *
 * 1. `v8::ArrayBuffer::NewBackingStore` describes the memory.
 * 2. A shared pointer to that is laid out here: the pointer, and a block with the counts, which starts at two.
 * 3. `v8::ArrayBuffer::New` makes the ArrayBuffer, and `v8::Isolate::ThrowException` brings it to JavaScript: a handle
 *    is good only within the call that made it, so both are called by one function, {@link MACHINE_CODE}. It runs
 *    them on the thread's own stack, because V8 refuses to work on koffi's.
 *
 * All of this is the C++ binary interface of the Node.js that runs, so it is done only where it was tried
 * ({@link isKnown}); the names of the functions say most of it themselves (`St10shared_ptr` is that of libstdc++).
 * Elsewhere, and where the environment's MOBULA_STORE_VIEWS is "node-api", Node-API's are used; view-charge.ts bounds
 * what they cost.
 */
import { types } from "node:util";
import { InternalError } from "../base/mod.ts";
import { type Address, addressOfSymbol, functionAt, makeExecutable, mapAnonymous, viewAt } from "./memory.ts";
import { koffi } from "./native.ts";

export interface ViewBuffer {
  readonly buffer: ArrayBuffer;
  readonly hold: BufferHold;
}

/** What is left to ask when a buffer has been collected. */
export interface BufferHold {
  /** Whether nothing reaches the memory any more; not to be asked again after a yes. */
  isReleased(): boolean;
}

/** The bytes at an address. The memory must stay mapped until the buffer was collected and its hold is released. */
export function viewBufferAt(address: Address, length: number): ViewBuffer {
  const v8 = findV8();
  return v8 ? make(v8, address, length) : { buffer: viewAt(address, length), hold: COLLECTED };
}

/** Whether V8 charges the length of what {@link viewBufferAt} makes to its heap. */
export const areViewsCharged = (): boolean => findV8() === undefined;

/** All that can be known of a buffer of Node-API. */
const COLLECTED: BufferHold = { isReleased: () => true };

// ── V8's functions ───────────────────────────────────────────────────────────────────────────────────────────────────

interface V8Functions {
  readonly isolate: Address;
  readonly emptyDeleter: Address;
  readonly newArrayBuffer: Address;
  readonly throwException: Address;
  /** A unique pointer is returned where the caller says, in a first argument that C++ hides. */
  readonly newBackingStore: (result: Address, data: Address, length: number, deleter: Address, hint: number) => void;
  readonly destroyBackingStore: (store: Address) => void;
  readonly free: (memory: Address) => void;
  readonly newThenThrow: (isolate: Address, sharedPointer: Address, newIt: Address, throwIt: Address) => void;
}

let found: V8Functions | undefined | false;

function findV8(): V8Functions | undefined {
  found ??= (isKnown() && lookUp()) || false;
  return found || undefined;
}

/** Where the layouts below have been tried, with every test of views. */
function isKnown(): boolean {
  const { arch, platform, versions, config, env } = process;
  const built: Readonly<Record<string, unknown>> = config.variables;
  return (
    env.MOBULA_STORE_VIEWS !== "node-api" &&
    platform === "linux" &&
    arch === "x64" &&
    /^(13\.6|14\.6)\.[\d.]+-node\./.test(versions.v8) &&
    !["v8_enable_sandbox", "v8_enable_pointer_compression", "v8_enable_direct_handle"].some((name) => built[name]) &&
    koffi().version === "3.3.4"
  );
}

function lookUp(): V8Functions | undefined {
  const getCurrent = addressOfSymbol("_ZN2v87Isolate10GetCurrentEv");
  const emptyDeleter = addressOfSymbol("_ZN2v812BackingStore12EmptyDeleterEPvmS1_");
  const newBackingStore = addressOfSymbol("_ZN2v811ArrayBuffer15NewBackingStoreEPvmPFvS1_mS1_ES1_");
  const destroyBackingStore = addressOfSymbol("_ZN2v812BackingStoreD1Ev");
  const newArrayBuffer = addressOfSymbol("_ZN2v811ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE");
  const throwException = addressOfSymbol("_ZN2v87Isolate14ThrowExceptionENS_5LocalINS_5ValueEEE");
  const free = addressOfSymbol("free");
  if (!getCurrent || !emptyDeleter || !newBackingStore || !destroyBackingStore) return undefined;
  if (!newArrayBuffer || !throwException || !free) return undefined;
  const code = makeExecutable(MACHINE_CODE);
  if (code === undefined) return undefined;
  // The names above, and the listing below, are the proof of these types.
  return {
    isolate: functionAt<() => Address>(getCurrent, "intptr_t", [])(),
    emptyDeleter,
    newArrayBuffer,
    throwException,
    newBackingStore: functionAt(newBackingStore, "void", ["intptr_t", "intptr_t", "size_t", "intptr_t", "intptr_t"]),
    destroyBackingStore: functionAt(destroyBackingStore, "void", ["intptr_t"]),
    free: functionAt(free, "void", ["intptr_t"]),
    newThenThrow: functionAt(code, "void", ["intptr_t", "intptr_t", "intptr_t", "intptr_t"]),
  };
}

/**
 *     void new_then_throw(rdi: isolate, rsi: shared pointer, rdx: ArrayBuffer::New, rcx: Isolate::ThrowException)
 *
 * koffi calls it on a stack of its own and keeps the thread's in rbp.
 */
// biome-ignore format: one instruction a line
const MACHINE_CODE = Uint8Array.of(
  0x53,                   // push %rbx
  0x48, 0x89, 0xe3,       // mov %rsp, %rbx
  0x48, 0x8d, 0x65, 0x80, // lea -128(%rbp), %rsp
  0x48, 0x83, 0xe4, 0xf0, // and $-16, %rsp
  0x57,                   // push %rdi
  0x51,                   // push %rcx
  0xff, 0xd2,             // call *%rdx
  0x59,                   // pop %rcx
  0x5f,                   // pop %rdi
  0x48, 0x89, 0xc6,       // mov %rax, %rsi
  0xff, 0xd1,             // call *%rcx
  0x48, 0x89, 0xdc,       // mov %rbx, %rsp
  0x5b,                   // pop %rbx
  0xc3,                   // ret
);

// ── making and holding ───────────────────────────────────────────────────────────────────────────────────────────────

/**
 * A record for each buffer in memory that does not move; offsets in words of 4 bytes. The backing store; the shared
 * pointer, which is backing store and counts; the counts, which are a table of functions for when they reach zero (they
 * never do) and the numbers of strong and weak users.
 */
const STORE = 0;
const POINTER = 4;
const POINTER_COUNTS = 6;
const COUNTS = 8;
const STRONG = 10;
const WEAK = 11;
const RECORD_WORDS = 16;
const CHUNK_BYTES = 64 * 2 ** 10;

interface BufferRecord {
  readonly address: Address;
  /** Of its chunk. */
  readonly words: Int32Array;
  readonly at: number;
}
const freeRecords: BufferRecord[] = [];

function takeRecord(): BufferRecord {
  const free = freeRecords.pop();
  if (free) return free;
  const chunk = mapAnonymous(CHUNK_BYTES);
  const words = new Int32Array(viewAt(chunk, CHUNK_BYTES));
  for (let at = 0; at < words.length; at += RECORD_WORDS) freeRecords.push({ address: chunk + at * 4, words, at });
  return takeRecord();
}

function make(v8: V8Functions, address: Address, length: number): ViewBuffer {
  const record = takeRecord();
  const { words, at } = record;
  v8.newBackingStore(record.address + STORE * 4, address, length, v8.emptyDeleter, 0);
  words.copyWithin(at + POINTER, at + STORE, at + STORE + 2);
  writeAddress(words, at + POINTER_COUNTS, record.address + COUNTS * 4);
  words[at + STRONG] = 2;
  words[at + WEAK] = 1;
  let buffer: unknown;
  try {
    v8.newThenThrow(v8.isolate, record.address + POINTER * 4, v8.newArrayBuffer, v8.throwException);
  } catch (thrown) {
    buffer = thrown;
  }
  // What was not moved out of the shared pointer is still the caller's to let go of.
  if (readAddress(words, at + POINTER_COUNTS) !== 0) Atomics.sub(words, at + STRONG, 1);
  if (!types.isArrayBuffer(buffer)) throw new InternalError(`V8 made no ArrayBuffer but ${String(buffer)}`);
  return { buffer, hold: { isReleased: () => isReleased(v8, record) } };
}

function isReleased(v8: V8Functions, record: BufferRecord): boolean {
  const { words, at } = record;
  if (Atomics.load(words, at + STRONG) > 1) return false;
  const store = readAddress(words, at + STORE);
  v8.destroyBackingStore(store);
  v8.free(store);
  freeRecords.push(record);
  return true;
}

function writeAddress(words: Int32Array, at: number, address: Address): void {
  words[at] = address | 0;
  words[at + 1] = Math.floor(address / 2 ** 32);
}

const readAddress = (words: Int32Array, at: number): Address =>
  (words[at + 1] ?? 0) * 2 ** 32 + ((words[at] ?? 0) >>> 0);
