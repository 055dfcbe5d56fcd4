/**
 * `address: "inline"`: everything in this process and thread, for debugging and unit tests.
 *
 * The parts are those of a real run: the owner engine, the lease engine, control, task runners and actor hosts, joined
 * by in-memory peers instead of sockets. So functions are captured, values go through the codec, and errors, retries,
 * restarts and refusals are the same. What cannot be: tasks interleave only where they await, nothing protects the
 * process from its tasks, and large values stay in memory.
 */
import { ConnectionLostError } from "../base/errors.ts";
import { type JobId, newJobId, newNodeId, newProcessId } from "../base/ids.ts";
import type { Resources } from "../base/resources.ts";
import { Client, DirectPort } from "../client/mod.ts";
import { describeMachine } from "../node/mod.ts";
import { OwnerRuntime } from "../owner/mod.ts";
import { MemoryPeer } from "../transport/mod.ts";
import type { FromNode, ToNode } from "../wire/mod.ts";
import { type Driver, STOPPED } from "./driver.ts";
import { InlineExecutor } from "./inline-executor.ts";
import { InlineNode } from "./inline-node.ts";
import { writeTimeline } from "./timeline.ts";

export interface InlineOptions {
  readonly resources: Resources;
  readonly infeasibleTimeoutMs: number;
  readonly namespace?: string;
  readonly jobName: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly maxPendingTasks: number;
  readonly onUnreadFailure: (name: string, error: Error) => void;
  readonly onWarning: (code: string, message: string) => void;
}

export function startInline(options: InlineOptions): Driver {
  const nodeId = newNodeId();
  const processId = newProcessId(nodeId);
  const jobId: JobId = newJobId();
  const namespace = options.namespace ?? `anonymous-${jobId}`;
  const machine = describeMachine({ resources: options.resources, objectStoreBytes: 0 }, (message) =>
    options.onWarning("machine", message),
  );
  const [here, there] = MemoryPeer.pair();
  const runtime: OwnerRuntime = new OwnerRuntime({
    self: processId,
    jobId: () => jobId,
    node: here,
    connect: async (address, handlers) => {
      const executor = node.find(address.workerId);
      if (!executor) throw new ConnectionLostError(`executor ${address.workerId} has ended`);
      return executor.connect(handlers);
    },
  });
  const client = new Client(
    {
      processId,
      port: new DirectPort(runtime),
      isInline: true,
      maxPendingTasks: options.maxPendingTasks,
      onUnreadFailure: options.onUnreadFailure,
      onWarning: options.onWarning,
    },
    { jobId, nodeId, namespace },
  );
  client.code.welcome(undefined, nodeId);
  const node: InlineNode = new InlineNode({
    nodeId,
    driver: processId,
    job: { jobId, namespace, name: options.jobName, metadata: options.metadata },
    machine,
    infeasibleTimeoutMs: options.infeasibleTimeoutMs,
    makeExecutor: (workerId, executorId, toNode) =>
      new InlineExecutor({ workerId, processId: executorId, client, runtime, toNode }),
    toDriver: (message) => there.send(message),
    isBusy: () => runtime.engine.isActive || client.hasPending,
  });
  here.handlers = { onMessage: (message) => runtime.onNodeMessage(message as FromNode), onClose() {} };
  there.handlers = { onMessage: (message) => node.handle(message as ToNode), onClose() {} };

  const leave = (): void => {
    client.close(new ConnectionLostError(STOPPED));
    runtime.close();
    here.destroy();
  };
  return {
    client,
    dashboardUrl: undefined,
    address: "inline",
    timeline: (file) => writeTimeline(client.port, processId, file),
    async stop() {
      await node.stop();
      leave();
    },
    async stopNow() {
      node.close();
      leave();
    },
  };
}
