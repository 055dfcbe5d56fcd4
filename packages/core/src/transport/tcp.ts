/** TCP, with or without TLS: listening on one port of a range, and connecting. */
import {
  connect,
  createServer,
  isIP,
  type OnReadOpts,
  type Server,
  type Socket,
  type TcpNetConnectOpts,
} from "node:net";
import { ConnectionLostError } from "../base/errors.ts";
import { advertisedAddress, formatAddress, parseAddress, parsePorts } from "./address.ts";
import { listenHere } from "./listen-here.ts";
import { connectToNetwork, isInNetwork } from "./network.ts";
import { Strangers } from "./strangers.ts";
import type { Tls } from "./tls.ts";

export interface TcpListenOptions {
  /** An address of this machine or a name of one; `"::"` is all of them. */
  readonly host: string;
  /** A port, a range that is tried in order (`"20000-20100"`), or 0 for any. */
  readonly port: number | string;
  /** Where others reach this process, if not at `host`: a host, or host:port. */
  readonly advertise?: string | undefined;
  readonly tls?: Tls | undefined;
}

export interface TcpListener {
  /** What to tell others. */
  readonly address: string;
  readonly port: number;
  /** Takes no more connections and ends those that there are. */
  close(): Promise<void>;
}

/** A connection that is silent for so long is asked by the system whether it lives; ten seconds later it has ended. */
const KEEP_ALIVE_MS = 5_000;
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * @param onSocket is given each connection, paused, and with TLS when that is set up.
 * @throws InvalidOptionError; ConnectionLostError when no port of the range is free.
 */
export async function listenTcp(options: TcpListenOptions, onSocket: (socket: Socket) => void): Promise<TcpListener> {
  const { first, last } = parsePorts(options.port);
  const sockets = new Set<Socket>();
  const welcome = options.tls ? withTls(options.tls, onSocket) : onSocket;
  const server = createServer({
    pauseOnConnect: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
  });
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    welcome(socket);
  });
  const port = await listenOnOne(server, options.host, first, last);
  return {
    address: advertisedAddress({ host: options.host, port }, options.advertise),
    port,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

async function listenOnOne(server: Server, host: string, first: number, last: number): Promise<number> {
  for (let port = first; ; port++) {
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.once("listening", () => {
          server.off("error", reject);
          resolve();
        });
        const family = isIP(host);
        if (family === 0) server.listen(port, host);
        else listenHere(server, host, port, family);
      });
      const bound = server.address();
      return typeof bound === "object" && bound ? bound.port : port;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === "EADDRINUSE" && port < last) continue;
      const where = formatAddress({ host, port: first }) + (last > first ? `-${last}` : "");
      throw new ConnectionLostError(
        `cannot listen on ${where}: ${code === "EADDRINUSE" ? "no port is free" : message}`,
        { cause: error },
      );
    }
  }
}

/** Until TLS is set up a connection is a stranger's; afterwards it is met anew, for its hello. */
function withTls(tls: Tls, onSocket: (socket: Socket) => void): (socket: Socket) => void {
  const strangers = new Strangers();
  // Node.js does not tell which connection has become which; while both live, the other side's address does.
  const parts = new Map<string, () => void>();
  const nameOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
  const server = tls.serve(
    (socket) => {
      parts.get(nameOf(socket))?.();
      onSocket(socket);
    },
    (_why, socket) => void socket.destroy(),
  );
  return (socket) => {
    const stranger = strangers.meet((why) => socket.destroy(why));
    const name = nameOf(socket);
    const part = (): void => {
      parts.delete(name);
      stranger.part();
    };
    parts.set(name, part);
    socket.once("close", part);
    socket.on("error", ignore);
    tls.refresh();
    server.emit("connection", socket);
  };
}

const ignore = (): void => {
  // A connection that breaks before it is anybody's is told by its close.
};

export interface WaitOptions {
  /** Milliseconds, default 5,000. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Connects to `host:port`, with TLS if that is given.
 *
 * @throws InvalidOptionError; ConnectionLostError (`unavailable`).
 */
export async function connectTcp(
  address: string,
  options: WaitOptions & { tls?: Tls | undefined } = {},
): Promise<Socket> {
  const socket = dialTcp(address);
  await opened(socket, "connect", address, options);
  return options.tls ? secure(socket, address, options.tls, options) : socket;
}

/** A connection to `host:port` that is being made. @throws InvalidOptionError */
export function dialTcp(address: string, options: { readonly onread?: OnReadOpts } = {}): Socket {
  return connectToNetwork(address, options) ?? connect({ ...partsOf(address), ...options });
}

/**
 * The same with TLS, of which `secureConnect` is told; undefined where TLS has to be laid over a connection that is made otherwise.
 *
 * @throws InvalidOptionError
 */
export function dialSecure(address: string, tls: Tls, onread: OnReadOpts): Socket | undefined {
  return isInNetwork() ? undefined : tls.dial({ ...partsOf(address), onread });
}

function partsOf(address: string): TcpNetConnectOpts {
  return { ...parseAddress(address), noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS };
}

/** TLS over a connection to `address`. */
export async function secure(socket: Socket, address: string, tls: Tls, options: WaitOptions = {}): Promise<Socket> {
  const secured = tls.connect(socket, parseAddress(address).host);
  await opened(secured, "secureConnect", address, options);
  return secured;
}

const TLS_CODES = /^(ERR_SSL_|ERR_TLS_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/;

/** Whether a connection came to nothing because one side would not have the other's certificate. */
export function isTlsFailure(error: Error): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if (TLS_CODES.test((at as NodeJS.ErrnoException).code ?? "")) return true;
  }
  return false;
}

/** @throws ConnectionLostError when the event has not come in time. */
export function opened(socket: Socket, event: string, address: string, options: WaitOptions = {}): Promise<void> {
  const { timeoutMs = CONNECT_TIMEOUT_MS, signal } = options;
  return new Promise((resolve, reject) => {
    let failure = new Error("it was closed");
    const onError = (error: Error): void => {
      failure = error;
    };
    const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    const abort = (): void => void socket.destroy(new Error("it was given up"));
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      socket.off("error", onError).off("close", onClose).off(event, onOpen);
      socket.on("error", ignore);
    };
    const onOpen = (): void => {
      settle();
      resolve();
    };
    const onClose = (): void => {
      settle();
      const why = failure.message || String(failure);
      reject(new ConnectionLostError(`cannot connect to ${address}: ${why}`, { cause: failure }));
    };
    socket.on("error", onError).on("close", onClose).on(event, onOpen);
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted) abort();
  });
}
