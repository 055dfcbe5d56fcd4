/**
 * The network of a cluster: every connection between its members passes through this thread, which is one of the test's
 * process, but not the one that the test computes on.
 */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { parseAddress } from "../transport/mod.ts";
import { Flow, type Weather } from "./flow.ts";
import { type LinkRules, Links } from "./links.ts";
import type { FromNetwork, NetworkData, ToNetwork } from "./network.ts";

const GREETING_BYTES_MAX = 1_024;
/** The driver's programs are not known by their addresses. */
const OTHERS = "driver";

interface Connection {
  readonly pair: string;
  /** Called when what stands between the two has changed. */
  changed(): void;
}

export function runNetworkThread(): void {
  const port = parentPort as MessagePort; // It is started as a thread.
  const { path, done } = workerData as NetworkData; // Given by network.ts.
  const network = new Network();
  port.on("message", (message: ToNetwork) => {
    if (message.t === "way") {
      const { from, to } = message;
      network.way(from, to, (address) => port.postMessage({ t: "way", from, to, address } satisfies FromNetwork));
      return;
    }
    if (message.t === "member") network.names.set(message.host, message.name);
    else network.rule(message.rules);
    Atomics.add(done, 0, 1);
    Atomics.notify(done, 0);
  });
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => network.accept(socket));
  server.listen(path, () => port.postMessage({ t: "listening" } satisfies FromNetwork));
}

class Network {
  /** Of members, by their addresses. */
  readonly names = new Map<string, string>();
  private readonly connections = new Set<Connection>();
  private cut: ReadonlySet<string> = new Set();
  private delayed: ReadonlyMap<string, number> = new Map();

  rule({ cut, delayed }: LinkRules): void {
    this.cut = new Set(cut);
    this.delayed = new Map(delayed);
    for (const connection of this.connections) connection.changed();
  }

  accept(socket: Socket): void {
    let text = "";
    socket.on("error", () => socket.destroy());
    const onData = (bytes: Buffer): void => {
      text += bytes.toString("latin1");
      const end = text.indexOf("\n");
      if (end < 0) {
        if (text.length > GREETING_BYTES_MAX) socket.destroy();
        return;
      }
      socket.off("data", onData).pause();
      if (end + 1 < text.length) socket.unshift(Buffer.from(text.slice(end + 1), "latin1"));
      const [name = "", address = ""] = text.slice(0, end).split(" ");
      this.dial(socket, name, address);
    };
    socket.on("data", onData).resume();
  }

  /** Whoever connects there is `from`, and goes to `to`. */
  way(from: string, to: string, ready: (address: string) => void): void {
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true }, (socket) => {
      socket.on("error", () => socket.destroy());
      this.dial(socket, from, to);
    });
    server.listen(0, "127.0.0.1", () => ready(`127.0.0.1:${(server.address() as AddressInfo).port}`));
  }

  private dial(socket: Socket, from: string, address: string): void {
    const { host, port } = parseAddress(address);
    const pair = Links.pair(from, this.names.get(host) ?? OTHERS);
    const weather = (): Weather => ({ isCut: this.cut.has(pair), delayMs: this.delayed.get(pair) ?? 0 });
    const begin = (): void => {
      if (weather().isCut || socket.destroyed) return;
      this.connections.delete(waiting);
      const onward = connect({ host, port, noDelay: true, allowHalfOpen: true });
      onward.once("error", () => socket.destroy());
      onward.once("connect", () => {
        const flows = [new Flow(socket, onward, weather), new Flow(onward, socket, weather)];
        const connection: Connection = {
          pair,
          changed: () => {
            for (const flow of flows) flow.changed();
          },
        };
        this.connections.add(connection);
        let open = 2;
        const closed = (): void => {
          if (--open === 0) this.connections.delete(connection);
        };
        socket.once("close", closed);
        onward.once("close", closed);
      });
    };
    // Who dials into a cut hears nothing, and goes on when it is healed.
    const waiting: Connection = { pair, changed: begin };
    this.connections.add(waiting);
    socket.once("close", () => this.connections.delete(waiting));
    begin();
  }
}
