/** For tests: greets everybody who knows the token, and remembers what was said. */
import { once } from "node:events";
import type { Socket } from "node:net";
import {
  type GreetOptions,
  greet,
  listenTcp,
  Strangers,
  type TcpHello,
  type TcpListener,
  type TcpListenOptions,
} from "./mod.ts";

export const TOKEN = "0123456789abcdef";

export type TestListenerOptions = Partial<TcpListenOptions> & Partial<GreetOptions>;

export class TestListener {
  readonly hellos: TcpHello[] = [];
  readonly refusals: string[] = [];
  readonly sockets: Socket[] = [];
  private readonly listener: TcpListener;

  private constructor(listener: TcpListener) {
    this.listener = listener;
  }

  static async open({ host = "127.0.0.1", port = 0, tls, ...more }: TestListenerOptions = {}): Promise<TestListener> {
    const options: GreetOptions = {
      strangers: new Strangers(),
      tokens: () => [TOKEN],
      onHello(hello) {
        self.hellos.push(hello);
        return { who: { greets: hello.who } };
      },
      onWelcomed(socket) {
        socket.on("error", () => {});
        self.sockets.push(socket);
      },
      onRefused: ({ code }) => self.refusals.push(code),
      ...more,
    };
    const self: TestListener = new TestListener(
      await listenTcp({ host, port, tls }, (socket) => greet(socket, options)),
    );
    return self;
  }

  get address(): string {
    return this.listener.address;
  }

  get port(): number {
    return this.listener.port;
  }

  close(): Promise<void> {
    return this.listener.close();
  }
}

export async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket.resume(), "close");
}
