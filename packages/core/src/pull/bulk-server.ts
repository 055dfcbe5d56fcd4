/** Gives objects to other nodes over bulk connections, also those that are still arriving here: as far as they have come. */
import { read } from "node:fs";
import type { Socket } from "node:net";
import { promisify } from "node:util";
import type { StoredName } from "../base/ids.ts";
import type { Place } from "../store/mod.ts";
import { type BulkRequest, encodeHead, RequestReader, STATUS } from "./bulk-format.ts";

/** An object that is read here, all of it or what has come so far. */
export interface Reading {
  readonly size: number;
  readonly place: Place;
  /** Up to where all bytes are there that follow each other from this one on. */
  availableFrom(at: number): number;
  /** Resolves when there are more; rejects when no more will come. */
  more(): Promise<void>;
  /** Called when its memory is not the object's any more: nothing of it may leave after that. */
  whenFailed: (() => void) | undefined;
  close(): void;
}

export interface BulkServerOptions {
  /** Undefined when it is not here. */
  open(name: StoredName): Promise<Reading | undefined>;
  log(message: string): void;
}

/** What is given to the system at once. */
const CHUNK_BYTES = 4 * 2 ** 20;
const readFile = promisify(read);

/** Answers one request after the other until the connection ends. */
export function serveBulk(socket: Socket, options: BulkServerOptions): void {
  const reader = new RequestReader();
  const requests: BulkRequest[] = [];
  let isAnswering = false;
  socket.on("error", () => {
    // The close that follows ends what is being sent.
  });
  socket.on("data", (chunk: Buffer) => {
    try {
      requests.push(...reader.push(chunk));
    } catch (error) {
      options.log(`a bulk connection from ${socket.remoteAddress} was ended: ${(error as Error).message}`);
      socket.destroy();
      return;
    }
    if (!isAnswering) void answerAll();
  });
  socket.resume();

  async function answerAll(): Promise<void> {
    isAnswering = true;
    for (let next = requests.shift(); next && !socket.destroyed; next = requests.shift()) {
      try {
        await answer(socket, next, options);
      } catch (error) {
        // Of what was begun no other end can be told than this.
        socket.destroy(error as Error);
      }
    }
    isAnswering = false;
  }
}

async function answer(socket: Socket, { name, from, to }: BulkRequest, options: BulkServerOptions): Promise<void> {
  const reading = await options.open(name);
  if (!reading || Math.max(from, to ?? from) > reading.size) {
    reading?.close();
    socket.write(encodeHead(STATUS.gone, 0));
    return;
  }
  try {
    const { size, place } = reading;
    const last = to ?? size;
    reading.whenFailed = () => void socket.destroy();
    socket.write(encodeHead(STATUS.ok, last - from));
    for (let at = from; at < last; ) {
      const end = Math.min(reading.availableFrom(at), last, at + CHUNK_BYTES);
      if (end <= at) {
        await reading.more();
        continue;
      }
      await send(socket, await bytesAt(place, at, end));
      at = end;
    }
  } finally {
    reading.close();
  }
}

async function bytesAt(place: Place, from: number, end: number): Promise<Uint8Array> {
  if ("memory" in place) return place.memory.subarray(from, end);
  const chunk = Buffer.allocUnsafe(end - from);
  for (let at = 0; at < chunk.length; ) {
    const { bytesRead } = await readFile(place.fd, chunk, at, chunk.length - at, place.position + from + at);
    if (bytesRead === 0) throw new Error("the file of an object ends before the object does");
    at += bytesRead;
  }
  return chunk;
}

/** Resolves when the system has taken the bytes, and their memory may be anything. */
function send(socket: Socket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = (): void => reject(new Error("the connection was closed"));
    if (socket.destroyed) return closed();
    socket.once("close", closed);
    socket.write(bytes, (error) => {
      socket.off("close", closed);
      if (error) reject(error);
      else resolve();
    });
  });
}
