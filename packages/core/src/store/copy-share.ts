/**
 * One large copy into the arena that two threads work on, block by block of it: blocks are claimed one at a time, so
 * that a thread which is held up holds nobody up.
 *
 * A block whose pages are in this thread's page table is copied to. Another one is not left to one fault a page: its
 * pages are mapped at once first, or, where they do not exist yet, written through the file, for then the kernel need
 * not clear what is about to be overwritten. Only one thread does that: writers of one file wait for each other.
 */
import { monotonicMs } from "../base/clock.ts";
import { type Address, PAGE_BYTES, populateNow, writeAt } from "./memory.ts";
import { type Copy, streamCopy } from "./stream-copy.ts";

const BLOCK_BYTES = 2 ** 20;

/** Words of the shared block. */
export const STATE_WORD = 0;
/** Whether the helper is at work, on this copy or just leaving it. */
export const INSIDE_WORD = 1;
const NEXT_BLOCK_WORD = 2;
const WORDS = 4;

export const STATE_IDLE = 0;
export const STATE_BUSY = 1;
export const STATE_STOP = 2;

const FIELDS = 7;
/** A file write that takes longer than this is waiting for another process's. */
const WRITE_PATIENCE_MS = 2;

export interface CopyJob {
  /** Where the arena is mapped. */
  readonly arena: Address;
  /** Where in the arena, in bytes. */
  readonly offset: number;
  readonly from: Address;
  readonly length: number;
  readonly fd: number;
  /** Some of its pages do not exist yet. */
  readonly isFresh: boolean;
  /** See {@link streamCopy}. */
  readonly code: Address;
}

/** What the helper is started with. */
export interface CopyThreadData {
  readonly memory: SharedArrayBuffer;
}

/** What the threads share. */
interface CopyShare {
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly fields: Float64Array<SharedArrayBuffer>;
  /** 1 for each block of the arena whose pages this process has mapped. */
  readonly mapped: Uint8Array<SharedArrayBuffer>;
}

export function newCopyShare(arenaBytes: number): SharedArrayBuffer {
  return new SharedArrayBuffer(WORDS * 4 + FIELDS * 8 + Math.ceil(arenaBytes / BLOCK_BYTES));
}

export function copyShareOf(memory: SharedArrayBuffer): CopyShare {
  return {
    words: new Int32Array(memory, 0, WORDS),
    fields: new Float64Array(memory, WORDS * 4, FIELDS),
    mapped: new Uint8Array(memory, WORDS * 4 + FIELDS * 8),
  };
}

export function setJob({ words, fields, mapped }: CopyShare, job: CopyJob): void {
  const { arena, offset, from, length, fd, isFresh, code } = job;
  fields.set([arena, offset, from, length, fd, Number(isFresh), code]);
  if (isFresh) mapped.fill(0, Math.floor(offset / BLOCK_BYTES), Math.ceil((offset + length) / BLOCK_BYTES));
  Atomics.store(words, NEXT_BLOCK_WORD, Math.floor(offset / BLOCK_BYTES));
}

/** Makes the function that copies blocks until none is left unclaimed. */
export function copier(share: CopyShare, options: { readonly writesFile: boolean }): () => void {
  const { words, fields, mapped } = share;
  let copy: Copy | undefined;
  return () => {
    const [arena = 0, offset = 0, from = 0, length = 0, fd = 0, isFresh = 0, code = 0] = fields;
    copy ??= streamCopy(code);
    let writesFile = options.writesFile && isFresh === 1;
    for (;;) {
      const block = Atomics.add(words, NEXT_BLOCK_WORD, 1);
      const start = Math.max(offset, block * BLOCK_BYTES);
      const end = Math.min(offset + length, (block + 1) * BLOCK_BYTES);
      if (start >= end) return;
      const source = from + start - offset;
      if (mapped[block] === 0) {
        if (writesFile) {
          const startedMs = monotonicMs();
          const isWritten = writeAt(fd, source, end - start, start);
          writesFile = isWritten && monotonicMs() - startedMs < WRITE_PATIENCE_MS;
          if (isWritten) continue;
        }
        const firstPage = start - (start % PAGE_BYTES);
        // Where the kernel cannot, the copy faults its pages in.
        const isMapped = populateNow(arena + firstPage, Math.ceil((end - firstPage) / PAGE_BYTES) * PAGE_BYTES);
        if (isMapped && end - start === BLOCK_BYTES) mapped[block] = 1;
      }
      copy(arena + start, source, end - start);
    }
  };
}
