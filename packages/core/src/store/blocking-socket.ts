/**
 * A Unix socket with calls that block this thread, for a `put` that must be done when it returns. Node's own sockets
 * answer only between turns of the event loop.
 */
import { ConnectionLostError, InvalidOptionError } from "../base/mod.ts";
import { lastError } from "./memory.ts";
import { koffi } from "./native.ts";

const linux = process.platform === "linux";
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = linux ? 0o2000000 : 0;
const SOL_SOCKET = linux ? 1 : 0xffff;
const SO_RCVTIMEO = linux ? 20 : 0x1006;
/** A peer that is gone must be an error here, not a signal that ends the process. */
const MSG_NOSIGNAL = linux ? 0x4000 : 0x80000;
const SUN_PATH_BYTES = linux ? 108 : 104;

/** Bound when first used; see memory.ts. */
function bind() {
  const libc = koffi().load(null);
  // The prototypes are the proof of these types.
  return {
    socket: libc.func("int socket(int domain, int type, int protocol)") as unknown as (
      domain: number,
      type: number,
      protocol: number,
    ) => number,
    connect: libc.func("int connect(int fd, const void *address, uint32_t length)") as unknown as (
      fd: number,
      address: Uint8Array,
      length: number,
    ) => number,
    send: libc.func("intptr_t send(int fd, const void *bytes, size_t length, int flags)") as unknown as (
      fd: number,
      bytes: Uint8Array,
      length: number,
      flags: number,
    ) => number,
    recv: libc.func("intptr_t recv(int fd, _Out_ void *bytes, size_t length, int flags)") as unknown as (
      fd: number,
      bytes: Uint8Array,
      length: number,
      flags: number,
    ) => number,
    setsockopt: libc.func(
      "int setsockopt(int fd, int level, int option, const void *value, uint32_t length)",
    ) as unknown as (fd: number, level: number, option: number, value: Uint8Array, length: number) => number,
    close: libc.func("int close(int fd)") as unknown as (fd: number) => number,
  };
}

let bound: ReturnType<typeof bind> | undefined;

export interface BlockingSocket {
  /** Returns when the kernel has all of it. @throws ConnectionLostError */
  send(bytes: Uint8Array): void;
  /** Waits for bytes, at most `timeoutMs`; undefined when none came. @throws ConnectionLostError when the peer is gone. */
  receive(timeoutMs: number): Uint8Array | undefined;
  close(): void;
}

export function connectBlocking(path: string): BlockingSocket {
  const pathBytes = Buffer.from(path);
  if (pathBytes.byteLength >= SUN_PATH_BYTES) throw new InvalidOptionError(`the path ${path} is too long for a socket`);
  const address = new Uint8Array(2 + SUN_PATH_BYTES);
  if (linux) new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  else address.set([2 + pathBytes.byteLength, AF_UNIX]);
  address.set(pathBytes, 2);

  bound ??= bind();
  const calls = bound;
  const fd = calls.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw lastError("socket");
  if (calls.connect(fd, address, address.byteLength) !== 0) {
    const error = lastError("connect");
    calls.close(fd);
    throw new ConnectionLostError(`the object store at ${path} does not answer (${error.code}); its node has ended`, {
      cause: error,
    });
  }

  const buffer = new Uint8Array(64 * 1024);
  let open = true;
  let timeoutSetMs = 0;

  function checkOpen(): void {
    if (!open) throw new ConnectionLostError("the object store's client is closed");
  }

  return {
    send(bytes) {
      checkOpen();
      for (let done = 0; done < bytes.byteLength; ) {
        const sent = calls.send(fd, bytes.subarray(done), bytes.byteLength - done, MSG_NOSIGNAL);
        if (sent >= 0) {
          done += sent;
          continue;
        }
        const error = lastError("send");
        if (error.code !== "EINTR")
          throw new ConnectionLostError(`the object store's node is gone (${error.code})`, { cause: error });
      }
    },
    receive(timeoutMs) {
      checkOpen();
      const limitMs = Math.max(1, Math.ceil(timeoutMs));
      if (limitMs !== timeoutSetMs) {
        const value = new Uint8Array(16);
        const fields = new DataView(value.buffer);
        fields.setBigInt64(0, BigInt(Math.floor(limitMs / 1000)), true);
        fields.setBigInt64(8, BigInt((limitMs % 1000) * 1000), true);
        if (calls.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, value, value.byteLength) !== 0) throw lastError("setsockopt");
        timeoutSetMs = limitMs;
      }
      for (;;) {
        const got = calls.recv(fd, buffer, buffer.byteLength, 0);
        if (got > 0) return buffer.slice(0, got);
        if (got === 0) throw new ConnectionLostError("the object store's node is gone");
        const error = lastError("recv");
        if (error.code === "EAGAIN" || error.code === "EWOULDBLOCK") return undefined;
        if (error.code !== "EINTR")
          throw new ConnectionLostError(`the object store's node is gone (${error.code})`, { cause: error });
      }
    },
    close() {
      if (!open) return;
      open = false;
      calls.close(fd);
    },
  };
}
