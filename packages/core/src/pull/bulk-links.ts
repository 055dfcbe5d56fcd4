/** Gets objects from other nodes over bulk connections, each of which carries one at a time and is kept for the next. */
import { writeSync } from "node:fs";
import { ConnectionLostError } from "../base/errors.ts";
import type { StoredName } from "../base/ids.ts";
import type { Place } from "../store/mod.ts";
import type { BulkConnection, BulkReader } from "../transport/mod.ts";
import { decodeHead, encodeRequest, HEAD_BYTES, STATUS } from "./bulk-format.ts";

export interface Fetch {
  readonly name: StoredName;
  readonly size: number;
  readonly place: Place;
  /** The bytes from here on are wanted, */
  readonly from: number;
  /** and those before here. */
  readonly to: number;
  /** So many more have come. */
  onBytes(bytes: number): void;
  readonly signal: AbortSignal;
}

/** Connections to one node at the same time: a second helps where one thread or one stream is the limit. */
const CONNECTIONS_MAX = 4;
/** One that nobody has needed for so long is closed. */
const IDLE_MS = 10_000;
/** A source from which nothing comes for so long is given up. */
const STALLED_MS = 10_000;
const FILE_CHUNK_BYTES = 2 ** 20;

/** The source does not have it. */
export class GoneError extends Error {}

export class BulkLinks {
  private readonly dial: (source: string) => Promise<BulkConnection>;
  private readonly sources = new Map<string, Source>();

  /** @param dial connects to a node, by its tag. */
  constructor(dial: (source: string) => Promise<BulkConnection>) {
    this.dial = dial;
  }

  /**
   * Resolves when all bytes are in place.
   *
   * @throws GoneError; ConnectionLostError when the source cannot be reached any more; the reason of the signal.
   */
  async fetch(tag: string, what: Fetch): Promise<void> {
    let source = this.sources.get(tag);
    if (!source) {
      source = new Source(() => this.dial(tag));
      this.sources.set(tag, source);
    }
    await source.fetch(what);
  }

  /** It is dead. */
  forget(tag: string): void {
    this.sources.get(tag)?.close();
    this.sources.delete(tag);
  }

  close(): void {
    for (const source of this.sources.values()) source.close();
    this.sources.clear();
  }
}

class Source {
  private readonly dial: () => Promise<BulkConnection>;
  private readonly idle: Line[] = [];
  private readonly waiting: (() => void)[] = [];
  private readonly busy = new Set<Line>();
  private open = 0;

  constructor(dial: () => Promise<BulkConnection>) {
    this.dial = dial;
  }

  async fetch(what: Fetch): Promise<void> {
    // Stripes wait for those of others, and these for them if they were of another object: none may wait for a connection.
    const isStripe = what.to - what.from < what.size;
    while (!isStripe && this.idle.length === 0 && this.open >= CONNECTIONS_MAX) {
      await new Promise<void>((resolve) => this.waiting.push(resolve));
      what.signal.throwIfAborted();
    }
    const line = this.idle.pop() ?? (await this.connect());
    this.busy.add(line);
    try {
      await line.fetch(what);
    } finally {
      this.busy.delete(line);
      if (line.isOpen) {
        this.idle.push(line);
        line.restUntil(IDLE_MS);
      }
      this.waiting.shift()?.();
    }
  }

  private async connect(): Promise<Line> {
    this.open++;
    try {
      const line = new Line(await this.dial());
      line.whenClosed = () => {
        this.open--;
        const at = this.idle.indexOf(line);
        if (at >= 0) this.idle.splice(at, 1);
        this.waiting.shift()?.();
      };
      return line;
    } catch (error) {
      this.open--;
      this.waiting.shift()?.();
      throw error;
    }
  }

  close(): void {
    for (const line of [...this.idle, ...this.busy]) line.close();
  }
}

interface Current extends Fetch {
  at: number;
  bytesLeft: number;
  /** The source is of version 1, and sends the rest of the object too. */
  isLast: boolean;
  resolve(): void;
  reject(error: Error): void;
}

/** One connection. */
class Line implements BulkReader {
  whenClosed: (() => void) | undefined;
  private readonly connection: BulkConnection;
  private current: Current | undefined;
  private head = new Uint8Array(HEAD_BYTES);
  private headBytes = 0;
  private fileChunk: Uint8Array | undefined;
  private stall: NodeJS.Timeout | undefined;
  private rest: NodeJS.Timeout | undefined;

  constructor(connection: BulkConnection) {
    this.connection = connection;
    const { socket } = connection;
    let failure: Error | undefined;
    socket.on("error", (error) => {
      failure = error;
    });
    socket.on("close", () => {
      clearTimeout(this.rest);
      this.end(new ConnectionLostError(`the connection to the source was lost: ${failure?.message ?? "it closed"}`));
      this.whenClosed?.();
    });
    connection.read(this);
  }

  get isOpen(): boolean {
    return !this.connection.socket.destroyed;
  }

  async fetch(what: Fetch): Promise<void> {
    const { signal, name, size, from, to } = what;
    signal.throwIfAborted();
    clearTimeout(this.rest);
    const abort = (): void => void this.connection.socket.destroy();
    signal.addEventListener("abort", abort);
    try {
      await new Promise<void>((resolve, reject) => {
        this.current = { ...what, at: from, bytesLeft: 0, isLast: false, resolve, reject };
        this.headBytes = 0;
        this.stall = setTimeout(() => this.fail(`nothing came for ${STALLED_MS} ms`), STALLED_MS);
        this.connection.socket.write(encodeRequest({ name, from, ...(to < size && { to }) }));
        if (!this.isOpen) this.end(new ConnectionLostError("the connection to the source was lost"));
      });
    } finally {
      signal.removeEventListener("abort", abort);
      signal.throwIfAborted();
    }
  }

  /** Closes it when nobody has needed it for so long. */
  restUntil(ms: number): void {
    this.rest = setTimeout(() => this.close(), ms);
    this.rest.unref();
  }

  close(): void {
    this.connection.socket.destroy();
  }

  room(): Uint8Array | undefined {
    const { current } = this;
    if (!current || current.bytesLeft === 0) return undefined;
    const { place, at, bytesLeft } = current;
    if ("memory" in place) return place.memory.subarray(at, at + bytesLeft);
    this.fileChunk ??= Buffer.allocUnsafe(FILE_CHUNK_BYTES);
    return this.fileChunk.subarray(0, Math.min(FILE_CHUNK_BYTES, bytesLeft));
  }

  filled(bytes: number): void {
    const { current } = this;
    if (!current) return;
    // Nothing more can come while this writes, which the system keeps in its cache.
    if (!("memory" in current.place) && this.fileChunk)
      this.writeFile(current.place, this.fileChunk.subarray(0, bytes));
    this.advance(bytes);
  }

  overflowed(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      const { current } = this;
      if (!current) {
        this.close();
        return;
      }
      if (this.headBytes < HEAD_BYTES) {
        const taken = Math.min(HEAD_BYTES - this.headBytes, rest.length);
        this.head.set(rest.subarray(0, taken), this.headBytes);
        this.headBytes += taken;
        rest = rest.subarray(taken);
        if (this.headBytes === HEAD_BYTES) this.begin(current);
        continue;
      }
      const taken = Math.min(current.bytesLeft, rest.length);
      const chunk = rest.subarray(0, taken);
      if ("memory" in current.place) current.place.memory.set(chunk, current.at);
      else this.writeFile(current.place, chunk);
      rest = rest.subarray(taken);
      this.advance(taken);
    }
  }

  private begin(current: Current): void {
    const { status, bytes } = decodeHead(this.head);
    if (status === STATUS.gone) {
      this.end(new GoneError(`the source has no object ${current.name}`));
      return;
    }
    const { size, from, to } = current;
    if (status !== STATUS.ok || (bytes !== to - from && bytes !== size - from)) {
      this.fail("its answer is not that of a source");
      return;
    }
    current.bytesLeft = to - from;
    current.isLast = bytes > to - from;
    if (current.bytesLeft === 0) this.finish(current);
  }

  private writeFile({ fd, position }: Extract<Place, { fd: number }>, chunk: Uint8Array): void {
    const at = position + (this.current?.at ?? 0);
    try {
      for (let done = 0; done < chunk.length; ) done += writeSync(fd, chunk, done, chunk.length - done, at + done);
    } catch (error) {
      this.fail((error as Error).message);
    }
  }

  private fail(why: string): void {
    this.connection.socket.destroy(new Error(why));
  }

  private advance(bytes: number): void {
    const { current } = this;
    if (!current) return;
    current.at += bytes;
    current.bytesLeft -= bytes;
    this.stall?.refresh();
    current.onBytes(bytes);
    if (current.bytesLeft === 0) this.finish(current);
  }

  private finish({ isLast }: Current): void {
    this.end(undefined);
    // More comes than was asked for.
    if (isLast) this.close();
  }

  private end(error: Error | undefined): void {
    const { current } = this;
    this.current = undefined;
    clearTimeout(this.stall);
    if (error) current?.reject(error);
    else current?.resolve();
  }
}
