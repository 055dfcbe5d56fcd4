/** For tests: a driver's connection that remembers what it was sent, and waits for what is to come. */
import { fileURLToPath } from "node:url";
import { type JobId, newJobId, newProcessId, type ProcessId, toUnits } from "../base/mod.ts";
import { SPOKEN_VERSIONS } from "../base/wire-version.ts";
import { connectUnix, type SocketPeer } from "../transport/mod.ts";
import type { Demand, FromNode, WorkerAddress } from "../wire/messages.ts";
import { type LaunchedNode, type LaunchOptions, launchNode } from "./launch.ts";

const program = fileURLToPath(new URL("./fixtures/node.ts", import.meta.url));

export const launchTestNode = (base: string, more: LaunchOptions = {}): Promise<LaunchedNode> =>
  launchNode({
    base,
    resources: { cpu: 2 },
    objectStoreBytes: 64 * 2 ** 20,
    command: { execPath: process.execPath, args: [program] },
    ...more,
  });

interface Received {
  readonly t: string;
  readonly [key: string]: unknown;
}

export class TestPeer {
  readonly received: Received[] = [];
  closed = false;
  private readonly waiters = new Set<() => void>();
  private peer!: SocketPeer;

  static async connect(path: string): Promise<TestPeer> {
    const self = new TestPeer();
    self.peer = await connectUnix(path, {
      onMessage: (message) => {
        self.received.push(message as Received);
        for (const wake of self.waiters) wake();
      },
      onClose: () => {
        self.closed = true;
        for (const wake of self.waiters) wake();
      },
    });
    return self;
  }

  send(message: object): void {
    this.peer.send(message);
    this.peer.flush();
  }

  /** The first message of this type from now on or before; it is taken out. */
  async next<T extends FromNode["t"] | "env" | "eaten">(type: T, timeoutMs = 10_000): Promise<Received> {
    let found: Received | undefined;
    await this.until(
      () => {
        const index = this.received.findIndex(({ t }) => t === type);
        if (index < 0) return false;
        [found] = this.received.splice(index, 1);
        return true;
      },
      timeoutMs,
      type,
    );
    if (!found) throw new Error(`no ${type}`);
    return found;
  }

  async until(condition: () => boolean, timeoutMs = 10_000, what = "a condition"): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve, reject) => {
      const end = (error?: Error): void => {
        clearTimeout(timer);
        this.waiters.delete(wake);
        if (error) reject(error);
        else resolve();
      };
      const timer = setTimeout(
        () => end(new Error(`waited ${timeoutMs} ms for ${what}; got ${JSON.stringify(this.received)}`)),
        timeoutMs,
      );
      const wake = (): void => {
        if (condition()) end();
        else if (this.closed) end(new Error(`closed while waiting for ${what}; got ${JSON.stringify(this.received)}`));
      };
      this.waiters.add(wake);
    });
  }

  close(): void {
    this.peer.close();
  }
}

export interface TestDriver {
  readonly peer: TestPeer;
  readonly processId: ProcessId;
  readonly jobId: JobId;
  /** Asks for one lease and waits until it is granted. */
  lease(shape: number, demand?: Partial<Demand> & { readonly of?: Record<string, number> }): Promise<TestLease>;
  query(method: string, params: unknown): Promise<Received>;
}

export interface TestLease {
  readonly leaseId: number;
  readonly gpus: readonly string[];
  readonly worker: WorkerAddress;
  connect(): Promise<TestPeer>;
}

export async function joinAsDriver(node: { nodeSocket: string; token: string }): Promise<TestDriver> {
  const peer = await TestPeer.connect(node.nodeSocket);
  const processId = newProcessId();
  const jobId = newJobId();
  peer.send({
    t: "hello",
    ...SPOKEN_VERSIONS,
    token: node.token,
    language: "js",
    role: "driver",
    processId,
    pid: process.pid,
    job: { jobId, namespace: "test", name: "test", metadata: {} },
  });
  await peer.next("welcome");
  let queries = 0;
  return {
    peer,
    processId,
    jobId,
    async lease(shape, { of = { cpu: 1 }, ...more } = {}) {
      const demand: Demand = { key: `${shape}`, resources: toUnits(of), priority: 0, name: "test", ...more };
      peer.send({ t: "lease-demand", shape, demand, wanted: 1 });
      const granted = await peer.next("lease-granted", 20_000);
      const worker = granted.worker as WorkerAddress;
      const { leaseId, gpus } = granted as unknown as { leaseId: number; gpus: string[] };
      return { leaseId, gpus, worker, connect: () => TestPeer.connect(worker.address) };
    },
    async query(method, params) {
      peer.send({ t: "query", id: ++queries, method, params });
      return peer.next("answer");
    },
  };
}
