/** Listeners to attack, and a client that goes on working with each meanwhile. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { newProcessId } from "../../src/base/ids.ts";
import { WIRE_VERSION } from "../../src/base/wire-version.ts";
import { connectUnix, dialPeer, type Peer, parseAddress } from "../../src/transport/mod.ts";

export const TOKEN = "a token that nobody guesses";

/** What the listeners' process holds. */
export interface Holdings {
  readonly fds: number;
  readonly heapBytes: number;
  readonly rssBytes: number;
  readonly known: number;
  readonly failures: number;
  /** The longest that its event loop was away since it was last asked. */
  readonly lagMs: number;
}

export type Told = Holdings | { readonly address: string };

export class Listeners {
  readonly address: string;
  readonly path: string;
  private readonly child: ChildProcess;

  private constructor(child: ChildProcess, address: string, path: string) {
    this.child = child;
    this.address = address;
    this.path = path;
  }

  static async start(folder: string): Promise<Listeners> {
    const path = `${folder}/node.sock`;
    const program = fileURLToPath(new URL("./fixtures/listeners.ts", import.meta.url));
    const child = fork(program, [path, TOKEN], { execArgv: ["--conditions=mobula-source", "--expose-gc"] });
    const [{ address }] = (await once(child, "message")) as [{ address: string }];
    return new Listeners(child, address, path);
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** A connection whose bytes are the caller's. */
  connect(kind: "tcp" | "unix"): Socket {
    return kind === "unix" ? connect(this.path) : connect(parseAddress(this.address));
  }

  async holdings(): Promise<Holdings> {
    const answer = once(this.child, "message");
    this.child.send("tell");
    return (await answer)[0] as Holdings;
  }

  async stop(): Promise<void> {
    const exited = once(this.child, "exit");
    this.child.disconnect();
    await exited;
  }
}

/** A client that behaves; it notices when it is disturbed. */
export class Client {
  trips = 0;
  slowestMs = 0;
  closed: { readonly error: Error | undefined } | undefined;
  private peer!: Peer;
  private arrived: (number: number) => void = () => {};

  static async join(listeners: Listeners, kind: "tcp" | "unix"): Promise<Client> {
    const self = new Client();
    const welcomed = Promise.withResolvers<void>();
    const handlers = {
      onMessage: (message: object) => {
        const { t, number } = message as { t: string; number: number };
        if (t === "welcome") welcomed.resolve();
        else self.arrived(number);
      },
      onClose(error: Error | undefined) {
        self.closed = { error };
        self.arrived(-1);
      },
    };
    if (kind === "tcp") {
      const { peer } = await dialPeer({
        address: listeners.address,
        token: () => TOKEN,
        role: "node",
        who: "client",
        handlers,
        onSuspended: handlers.onClose,
        // While strangers take all places, whoever is new waits its turn.
        patienceMs: 10_000,
      });
      self.peer = peer;
    } else {
      self.peer = await connectUnix(listeners.path, handlers);
      self.peer.send({
        t: "hello",
        version: WIRE_VERSION,
        token: TOKEN,
        role: "tool",
        language: "js",
        pid: process.pid,
        processId: newProcessId(),
      });
      await welcomed.promise;
    }
    return self;
  }

  /** There and back. */
  async trip(): Promise<void> {
    const number = ++this.trips;
    const began = performance.now();
    const echo = new Promise<number>((resolve) => {
      this.arrived = resolve;
    });
    this.peer.send({ t: "echo", number });
    this.peer.flush();
    const answer = await echo;
    if (this.closed) throw new Error("a client that behaves lost its connection", { cause: this.closed.error });
    if (answer !== number) throw new Error(`trip ${number} was answered by ${answer}`);
    this.slowestMs = Math.max(this.slowestMs, performance.now() - began);
  }

  leave(): void {
    this.peer.close();
  }
}
