/** For tests: passes bytes on between a dialler and a listener, until it is told not to. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

export interface Cut {
  /** Bytes to the listener (or from it) after which both ends of the connection are cut. */
  readonly up?: number;
  readonly down?: number;
  /** Instead of cutting, passes nothing on from there, in that direction, and says nothing. */
  readonly swallows?: boolean;
  /** As a process that dies with unread data does. */
  readonly resets?: boolean;
}

export class TestProxy {
  /** Connections so far, and what becomes of the next one. */
  connections = 0;
  plan: (connection: number) => Cut | "refuse" = () => ({});
  bytesUp = 0;
  bytesDown = 0;
  private readonly pairs = new Set<readonly [Socket, Socket]>();
  private readonly server: Server;
  private readonly target: number;

  private constructor(target: number) {
    this.target = target;
    this.server = createServer((socket) => this.pass(socket));
  }

  static async to({ port }: { port: number }): Promise<TestProxy> {
    const proxy = new TestProxy(port);
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.server.address() as { port: number }).port}`;
  }

  get open(): number {
    return this.pairs.size;
  }

  cut(resets = false): void {
    for (const pair of this.pairs) for (const socket of pair) resets ? socket.resetAndDestroy() : socket.destroy();
  }

  /** Takes no more connections; those that there are go on. */
  stopListening(): void {
    this.server.close();
  }

  close(): void {
    this.cut();
    this.server.close();
  }

  private pass(near: Socket): void {
    const cut = this.plan(this.connections++);
    if (cut === "refuse") {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ host: "127.0.0.1", port: this.target, noDelay: true });
    const pair = [near, far] as const;
    this.pairs.add(pair);
    const end = (): void => {
      this.pairs.delete(pair);
      for (const socket of pair) cut.resets ? socket.resetAndDestroy() : socket.destroy();
    };
    const forward = (from: Socket, to: Socket, limit: number, count: (bytes: number) => void): void => {
      let passed = 0;
      from.on("data", (chunk: Buffer) => {
        const through = chunk.subarray(0, limit - passed);
        passed += through.length;
        count(through.length);
        // No more is on its way than a network would hold.
        if (through.length > 0 && !to.write(through)) from.pause();
        // The last bytes are to arrive before the end does.
        if (passed >= limit && !cut.swallows) to.end(() => setImmediate(end));
      });
      to.on("drain", () => from.resume());
      from.on("error", () => {}).on("close", () => setImmediate(end));
    };
    near.setNoDelay(true);
    forward(near, far, cut.up ?? Number.POSITIVE_INFINITY, (bytes) => {
      this.bytesUp += bytes;
    });
    forward(far, near, cut.down ?? Number.POSITIVE_INFINITY, (bytes) => {
      this.bytesDown += bytes;
    });
    if (cut.up === 0 && !cut.swallows) far.once("connect", end);
  }
}
