/**
 * The few system calls that shared memory needs, through koffi. Everything else in this room speaks in file
 * descriptors, addresses (as plain numbers: user space ends below 2^47) and ArrayBuffers; nothing else loads koffi.
 *
 * An ArrayBuffer made by {@link viewAt} does not keep its mapping alive: whoever makes one must not unmap before the
 * ArrayBuffer has been collected. That duty is `mapping.ts`'s.
 */
import { readFileSync } from "node:fs";
import { InternalError } from "../base/mod.ts";
import { koffi } from "./native.ts";
import { assertInsideGate, passNativeGate } from "./native-gate.ts";

/** Everything in the store starts and ends at multiples of this. */
export const PAGE_BYTES = 4096;

export const pagesOf = (bytes: number): number => Math.max(1, Math.ceil(bytes / PAGE_BYTES));
export const roundUpToPages = (bytes: number): number => pagesOf(bytes) * PAGE_BYTES;

/** An address in this process. */
export type Address = number;

const linux = process.platform === "linux";
const PROT_READ_WRITE = 1 | 2;
const PROT_READ_EXECUTE = 1 | 4;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = linux ? 0x20 : 0x1000;
/** Private mappings reserve no swap: a get of 800 MB must not count as 800 MB that might be written. */
const MAP_NORESERVE = linux ? 0x4000 : 0x40;
const MREMAP_MAYMOVE = 1;
const MREMAP_FIXED = 2;
const MREMAP_DONTUNMAP = 4;
const MADV_DONTFORK = 10;
const MADV_POPULATE_WRITE = 23;
const MFD_CLOEXEC = 1;
const FALLOC_KEEP_SIZE = 1;
const FALLOC_PUNCH_HOLE = 2;
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

interface ForeignFunction {
  (...args: readonly unknown[]): number;
  async(...args: readonly unknown[]): void;
}

/** Each is bound when it is first called: a declaration takes a tenth of a millisecond, and a process needs few. */
function declare(prototype: string): () => ForeignFunction {
  let bound: ForeignFunction | undefined;
  return () => {
    assertInsideGate();
    // koffi types every foreign function as returning any; the prototypes below are the proof of the types given here.
    bound ??= libc().func(prototype) as unknown as ForeignFunction;
    return bound;
  };
}

let library: ReturnType<ReturnType<typeof koffi>["load"]> | undefined;
function libc(): NonNullable<typeof library> {
  library ??= koffi().load(null);
  return library;
}

const linuxOnly = (prototype: string): (() => ForeignFunction | undefined) =>
  linux ? declare(prototype) : () => undefined;

let trim: ((pad: number) => void) | undefined | false;

/** Undefined where the C library has none: musl, macOS. */
function mallocTrim(): ((pad: number) => void) | undefined {
  if (trim === undefined) {
    try {
      trim = libc().func("int malloc_trim(size_t pad)") as unknown as (pad: number) => void;
    } catch {
      trim = false;
    }
  }
  return trim || undefined;
}

const calls = {
  mmap: declare("intptr_t mmap(intptr_t address, size_t length, int prot, int flags, int fd, int64_t offset)"),
  munmap: declare("int munmap(intptr_t address, size_t length)"),
  memcpyOut: declare("intptr_t memcpy(_Out_ void *to, intptr_t from, size_t length)"),
  memcpy: declare("intptr_t memcpy(intptr_t to, intptr_t from, size_t length)"),
  memcpyIn: declare("intptr_t memcpy(intptr_t to, const void *from, size_t length)"),
  dlsym: declare("intptr_t dlsym(intptr_t library, const char *name)"),
  addressOf: declare("intptr_t memcpy(void *to, const void *from, size_t length)"),
  mprotect: declare("int mprotect(intptr_t address, size_t length, int prot)"),
  pread: declare("intptr_t pread(int fd, intptr_t to, size_t length, int64_t offset)"),
  pwrite: declare("intptr_t pwrite(int fd, intptr_t from, size_t length, int64_t offset)"),
  strerror: declare("const char *strerror(int code)"),
  madvise: linuxOnly("int madvise(intptr_t address, size_t length, int advice)"),
  fallocate: linuxOnly("int fallocate(int fd, int mode, int64_t offset, int64_t length)"),
  memfdCreate: linuxOnly("int memfd_create(const char *name, unsigned int flags)"),
  mallocTrim,
  mremap: linuxOnly("intptr_t mremap(intptr_t from, size_t length, size_t newLength, int flags, intptr_t to)"),
  prctl: linuxOnly("int prctl(int option, unsigned long argument)"),
};

/** Binds now, which takes milliseconds, what would be bound at the first call. */
export function bindEarly(): void {
  for (const bind of Object.values(calls)) passNativeGate(bind);
}

/** The C library's heap gives its unused pages back to the system, where it can. */
export function trimHeap(): void {
  calls.mallocTrim()?.(0);
}

/** A system call said no; `errno` is the system's number, `code` its name ("ENOSPC"). */
export class SystemCallError extends Error {
  readonly errno: number;
  readonly code: string;

  constructor(call: string, errno: number) {
    super(`${call}: ${calls.strerror()(errno)}`);
    this.name = "SystemCallError";
    this.errno = errno;
    this.code = errnoName(errno);
  }
}

function errnoName(errno: number): string {
  for (const [name, value] of Object.entries(koffi().os.errno)) if (value === errno) return name;
  return `E${errno}`;
}

/** The error of the call that has just failed; reads errno, so nothing may come between. */
export const lastError = (call: string): SystemCallError => new SystemCallError(call, koffi().errno());

/** Maps a range of a file for everybody to see. */
export function mapShared(fd: number, offset: number, length: number): Address {
  return map(0, length, MAP_SHARED, fd, offset);
}

/** Fresh memory that belongs to no file. */
export function mapAnonymous(length: number): Address {
  return map(0, length, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/** Maps a range copy-on-write: what this process writes nobody else sees, and nothing reaches the file. */
export function mapPrivate(fd: number, offset: number, length: number): Address {
  return map(0, length, MAP_PRIVATE | MAP_NORESERVE, fd, offset);
}

/** Replaces the mapping at `address` by a private one of the same file range: pointers stay valid, writes stay here. */
export function remapPrivate(address: Address, fd: number, offset: number, length: number): void {
  map(address, length, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd, offset);
}

/** Replaces the mapping at `address` by fresh memory that belongs to no file: pointers stay valid, the bytes are gone. */
export function remapAnonymous(address: Address, length: number): void {
  map(address, length, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
}

function map(address: Address, length: number, flags: number, fd: number, offset: number): Address {
  const mapped = calls.mmap()(address, length, PROT_READ_WRITE, flags, fd, offset);
  if (mapped === -1) throw lastError("mmap");
  // A child made by fork would otherwise share or copy these pages, and a large dirty one makes spawn slow.
  calls.madvise()?.(mapped, length, MADV_DONTFORK);
  return mapped;
}

/** Address space that nothing else is given, as far from a multiple of {@link TABLE_BYTES} as `like` is. */
export function reserveLike(like: Address, length: number): Address {
  const size = length + TABLE_BYTES;
  const start = map(0, size, MAP_PRIVATE | MAP_NORESERVE | MAP_ANONYMOUS, -1, 0);
  const address = start + ((((like - start) % TABLE_BYTES) + TABLE_BYTES) % TABLE_BYTES);
  if (address > start) unmap(start, address - start);
  if (address + length < start + size) unmap(address + length, start + size - address - length);
  return address;
}
/** What one page of the kernel's page tables maps. */
const TABLE_BYTES = 2 * 2 ** 20;

/**
 * Maps at `to` what is mapped at `from`, and moves the page tables there too: whole ones, when both lie alike (see
 * {@link reserveLike}), so that it costs no time for each page. What is mapped at `from` stays mapped, without its pages.
 * False where the kernel cannot.
 */
export function moveMapping(from: Address, to: Address, length: number): boolean {
  const flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  return calls.mremap()?.(from, length, length, flags, to) === to;
}

export function unmap(address: Address, length: number): void {
  if (calls.munmap()(address, length) !== 0) throw lastError("munmap");
}

/** The bytes at an address as an ArrayBuffer, without copying; see the head of this file. */
export const viewAt = (address: Address, length: number): ArrayBuffer => koffi().view(BigInt(address), length);

/** A copy of the bytes at an address. */
export function copyFrom(address: Address, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  if (length > 0) calls.memcpyOut()(bytes, address, length);
  return bytes;
}

/** Copies between addresses; the ranges must not overlap. */
export function copyMemory(to: Address, from: Address, length: number): void {
  if (length > 0) calls.memcpy()(to, from, length);
}

/** Copies a typed array's bytes to an address. */
export function copyTo(to: Address, bytes: Uint8Array): void {
  if (bytes.byteLength > 0) calls.memcpyIn()(to, bytes, bytes.byteLength);
}

/** Writes bytes at an address through a file; false when it did not take all of them. */
export function writeAt(fd: number, from: Address, length: number, position: number): boolean {
  for (let done = 0; done < length; ) {
    const written = calls.pwrite()(fd, from + done, length - done, position + done);
    if (written <= 0) return false;
    done += written;
  }
  return true;
}

/** Reads from a file to an address; false when it did not give all of the bytes. */
export function readAt(fd: number, to: Address, length: number, position: number): boolean {
  for (let done = 0; done < length; ) {
    const got = calls.pread()(fd, to + done, length - done, position + done);
    if (got <= 0) return false;
    done += got;
  }
  return true;
}

/** Memory of its own that holds these instructions and that nobody can write any more; undefined where that is denied. */
export function makeExecutable(code: Uint8Array): Address | undefined {
  const length = roundUpToPages(code.byteLength);
  const address = mapAnonymous(length);
  copyTo(address, code);
  if (calls.mprotect()(address, length, PROT_READ_EXECUTE) === 0) return address;
  unmap(address, length);
  return undefined;
}

/** Where a function lies that this process's program or libraries export; 0 where none do. */
export const addressOfSymbol = (name: string): Address => calls.dlsym()(0, name);

/** The function at an address. Its caller answers for the types. */
export function functionAt<F>(address: Address, result: string, parameters: readonly string[]): F {
  const { decode, proto } = koffi();
  return decode(BigInt(address), proto(result, [...parameters])) as F;
}

/**
 * Where a typed array's bytes are. Only good until the thread's JavaScript goes on after a wait: V8 may move small
 * arrays. Callers pass at least {@link STABLE_BYTES_MIN} bytes and use the address before they return.
 */
export function addressOf(bytes: Uint8Array): Address {
  if (bytes.byteLength < STABLE_BYTES_MIN) throw new InternalError("addressOf: too small to stay in place");
  return calls.addressOf()(bytes, bytes, 0);
}
const STABLE_BYTES_MIN = 4096;

/** Makes pages of a shared mapping present and maps them; false where the kernel cannot. */
export function populateNow(address: Address, length: number): boolean {
  return calls.madvise()?.(address, length, MADV_POPULATE_WRITE) === 0;
}

/** The same on another thread. */
export function populate(address: Address, length: number): Promise<boolean> {
  const madvise = calls.madvise();
  if (!madvise) return Promise.resolve(false);
  return new Promise((resolve) => {
    madvise.async(address, length, MADV_POPULATE_WRITE, (_error: unknown, result: number) => resolve(result === 0));
  });
}

/** Gives a file range its pages or blocks, on another thread; rejects with ENOSPC when there are none. */
export function reserveRange(fd: number, offset: number, length: number): Promise<void> {
  return fallocate(fd, 0, offset, length);
}

/** Takes the pages or blocks of a file range away, on another thread; the range reads as zeros afterwards. */
export function punchHole(fd: number, offset: number, length: number): Promise<void> {
  return fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length);
}

function fallocate(fd: number, mode: number, offset: number, length: number): Promise<void> {
  const call = calls.fallocate();
  if (!call) return Promise.reject(Object.assign(new Error("fallocate: not on this system"), { code: "EOPNOTSUPP" }));
  return new Promise((resolve, reject) => {
    call.async(fd, mode, offset, length, (error: Error | null, result: number) => {
      if (error) reject(error);
      else if (result === 0) resolve();
      // koffi keeps the worker thread's errno for the callback of an asynchronous call.
      else reject(lastError("fallocate"));
    });
  });
}

/** An anonymous file in memory that vanishes with its last user, also after kill -9. Linux only. */
export function createMemfd(name: string): number {
  const memfdCreate = calls.memfdCreate();
  if (!memfdCreate) throw Object.assign(new Error("memfd_create: not on this system"), { code: "ENOSYS" });
  const fd = memfdCreate(name, MFD_CLOEXEC);
  if (fd < 0) throw lastError("memfd_create");
  return fd;
}

/**
 * Asks the kernel to kill this process when the one that started it ends, however that happens, also while this one is
 * in an endless loop. False when that parent is gone already, of which the kernel will not tell; where it cannot tell
 * at all, the answer is the only help.
 */
export function dieWithParent(parentPid: number): boolean {
  calls.prctl()?.(PR_SET_PDEATHSIG, SIGKILL);
  return process.ppid === parentPid;
}

/** The kernel's limit on mappings per process; a common default where it is not told. */
export function mappingCountMax(): number {
  if (!linux) return 65_530;
  return Number.parseInt(readFileSync("/proc/sys/vm/max_map_count", "utf8"), 10);
}

const wordsRegistry = new FinalizationRegistry<{ readonly address: Address; readonly length: number }>(
  ({ address, length }) => passNativeGate(() => unmap(address, length)),
);

/**
 * A range of a file as words that processes share, for `Atomics` (except `wait`, which V8 refuses here). The descriptor
 * may be closed afterwards; the mapping ends when the words are collected.
 *
 * @param offset a multiple of the page size. @throws SystemCallError
 */
export function mapSharedWords(fd: number, offset: number, length: number): Int32Array<ArrayBuffer> {
  const address = mapShared(fd, offset, length);
  const buffer = viewAt(address, length);
  wordsRegistry.register(buffer, { address, length });
  return new Int32Array(buffer);
}
