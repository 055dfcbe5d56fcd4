import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type JobId, type LeaseId, newNodeId, newProcessId, type Seq, type WorkerId } from "../base/ids.ts";
import { MemoryPeer } from "../transport/mod.ts";
import type { ToNode } from "../wire/mod.ts";
import { OwnerRuntime } from "./runtime.ts";
import { testTemplate } from "./test-owner.ts";

/** A lease whose task takes long is sent no more, and ten milliseconds are soon over on a busy machine: here no time passes. */
beforeEach(() => void vi.useFakeTimers({ toFake: ["hrtime", "setInterval", "clearInterval"] }));
afterEach(() => void vi.useRealTimers());

test("what is said to the node has left before what is sent to workers: the process may be killed in between", async () => {
  const left: string[] = [];
  let unsent: string[] = [];
  const [peer] = MemoryPeer.pair();
  const flush = peer.flush.bind(peer);
  peer.flush = () => {
    if (!peer.out.isEmpty) left.push("worker");
    flush();
  };
  const opened = Promise.withResolvers<void>();
  const runtime = new OwnerRuntime({
    self: newProcessId(),
    engine: { handsOver: true },
    jobId: () => "j" as JobId,
    node: {
      send: (message) => void unsent.push((message as ToNode).t),
      flush() {
        left.push(...unsent);
        unsent = [];
      },
    },
    connect: () => {
      setImmediate(opened.resolve);
      return Promise.resolve(peer);
    },
  });
  const { tasks, objects } = runtime.enter();
  tasks.register(testTemplate(1));
  tasks.submit(1 as Seq, 1, new Uint8Array(0), [], []);
  const worker = { workerId: "w" as WorkerId, processId: newProcessId(), nodeId: newNodeId(), pid: 1, address: "/w" };
  runtime.onNodeMessage({ t: "lease-granted", shape: 0, leaseId: 1 as LeaseId, worker, gpus: [] });
  runtime.flushNow();
  await opened.promise;
  left.length = 0;
  objects.put(2 as Seq, { at: "inline", bytes: new Uint8Array(0), nested: [] });
  tasks.submit(3 as Seq, 1, new Uint8Array(0), [], [1 as Seq, 2 as Seq]);
  runtime.flushNow();
  expect(left).toEqual(["object-publish", "object-publish", "hold-grant", "lease-demand", "task-copy", "worker"]);
  runtime.close();
});
