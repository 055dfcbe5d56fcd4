/** The test's hold on the network of its cluster. */
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { ConnectionLostError } from "../base/errors.ts";
import { entryPath } from "../bin/entries.ts";
import type { LinkRules } from "./links.ts";

export interface NetworkData {
  readonly path: string;
  /** How many messages have been obeyed. */
  readonly done: Int32Array<SharedArrayBuffer>;
}
export type ToNetwork =
  | { readonly t: "member"; readonly host: string; readonly name: string }
  | { readonly t: "rules"; readonly rules: LinkRules }
  | { readonly t: "way"; readonly from: string; readonly to: string };
export type FromNetwork =
  | { readonly t: "listening" }
  | { readonly t: "way"; readonly from: string; readonly to: string; readonly address: string };

const OBEYED_MS = 5_000;

export class Network {
  private readonly worker: Worker;
  private readonly path: string;
  private readonly done = new Int32Array(new SharedArrayBuffer(4));
  private sent = 0;

  static async open(folder: string): Promise<Network> {
    const network = new Network(join(folder, "network"));
    await new Promise<void>((resolve, reject) => {
      network.worker.once("message", () => resolve());
      network.worker.once("error", reject);
    });
    // It must not keep the test's process alive; only now, for until it listens nothing else might.
    network.worker.unref();
    return network;
  }

  private constructor(path: string) {
    this.path = path;
    const { path: program, execArgv } = entryPath("network-thread");
    const workerData: NetworkData = { path, done: this.done };
    this.worker = new Worker(program, { workerData, execArgv, name: "network" });
  }

  /** What a member's processes are told, so that they dial by this network. */
  addressOf(name: string): string {
    return `${this.path} ${name}`;
  }

  /** It is obeyed when this returns. @throws ConnectionLostError when the thread does not answer within 5 s. */
  say(message: ToNetwork): void {
    this.worker.postMessage(message);
    this.sent++;
    const deadline = performance.now() + OBEYED_MS;
    for (let done = Atomics.load(this.done, 0); done < this.sent; done = Atomics.load(this.done, 0)) {
      Atomics.wait(this.done, 0, done, OBEYED_MS);
      if (performance.now() > deadline) throw new ConnectionLostError("the network of the cluster does not answer");
    }
  }

  /** An address by which a member reaches another one without knowing of the network. */
  way(from: string, to: string): Promise<string> {
    return new Promise((resolve) => {
      const heard = (message: FromNetwork): void => {
        if (message.t !== "way" || message.from !== from || message.to !== to) return;
        this.worker.off("message", heard);
        if (this.worker.listenerCount("message") === 0) this.worker.unref();
        resolve(message.address);
      };
      this.worker.on("message", heard);
      this.worker.ref();
      this.worker.postMessage({ t: "way", from, to } satisfies ToNetwork);
    });
  }

  async close(): Promise<void> {
    await this.worker.terminate();
  }
}
