/** Requests for room that wait without blocking the thread: a second connection of the same client, on Node's own sockets. */
import { createConnection } from "node:net";
import { ConnectionLostError, type ProcessId } from "../base/mod.ts";
import { createFrameReader, encodeFrame, type FromStore, type ToStore } from "./protocol.ts";

export interface AsyncChannel {
  /** Resolves with the node's answer, granted or refused. @throws ConnectionLostError */
  allocate(bytes: number, wishBytes: number, callSite: string): Promise<FromStore>;
  close(): void;
}

export function openAsyncChannel(socketPath: string, processId: ProcessId): AsyncChannel {
  const socket = createConnection(socketPath);
  const reader = createFrameReader<FromStore>();
  const pending = new Map<number, { resolve(answer: FromStore): void; reject(error: Error): void }>();
  let nextRequestId = 1;
  let failure: Error | undefined;

  const send = (message: ToStore): void => {
    socket.write(encodeFrame(message));
  };

  function fail(error: Error): void {
    failure ??= error;
    for (const { reject } of pending.values()) reject(failure);
    pending.clear();
  }

  socket.on("data", (bytes) => {
    for (const message of reader.push(bytes)) {
      const request = pending.get(message[1]);
      pending.delete(message[1]);
      request?.resolve(message);
    }
    // A process with nothing else to wait for may end.
    if (pending.size === 0) socket.unref();
  });
  socket.on("error", (error) => fail(new ConnectionLostError("the object store's node is gone", { cause: error })));
  socket.on("close", () => fail(new ConnectionLostError("the object store's node is gone")));
  send(["hello", nextRequestId++, processId, process.pid]);

  return {
    allocate(bytes, wishBytes, callSite) {
      if (failure) return Promise.reject(failure);
      const requestId = nextRequestId++;
      socket.ref();
      return new Promise((resolve, reject) => {
        pending.set(requestId, { resolve, reject });
        send(["allocate", requestId, bytes, wishBytes, callSite]);
      });
    },
    close() {
      fail(new ConnectionLostError("the object store's client is closed"));
      socket.end(encodeFrame(["bye"]));
      socket.unref();
    },
  };
}
