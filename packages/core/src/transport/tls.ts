/**
 * What a process shows and demands in TLS, from PEM files that may change while it runs. This file loads `node:tls`, which
 * takes milliseconds: a process without TLS never imports a value of it before it needs one.
 */
import { readFileSync } from "node:fs";
import type { NetConnectOpts, OnReadOpts, Socket } from "node:net";
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  createServer,
  type SecureContextOptions,
  type Server,
  type TLSSocket,
} from "node:tls";
import { InvalidOptionError } from "../base/errors.ts";
import { HANDSHAKE_TIMEOUT_MS } from "../base/limits.ts";
import type { TlsFiles } from "../wire/mod.ts";
import { WatchedFiles } from "./watched-files.ts";

const minVersion = "TLSv1.3";

export class Tls {
  private readonly files: TlsFiles;
  private readonly watched: WatchedFiles;
  private readonly onProblem: (message: string) => void;
  private context: SecureContextOptions;
  private readonly servers = new Set<Server>();

  /**
   * @param onProblem the files have changed and cannot be used, perhaps because the others have not changed yet.
   * @throws InvalidOptionError when a file cannot be read or used.
   */
  constructor(files: TlsFiles, onProblem: (message: string) => void = () => {}) {
    this.files = files;
    this.onProblem = onProblem;
    this.watched = new WatchedFiles([files.cert, files.key, files.ca].filter((path) => path !== undefined));
    this.context = read(files);
  }

  /**
   * Reads the files again; connections that are made from now on use them. When they cannot be used, the old ones stay.
   *
   * @throws InvalidOptionError
   */
  reload(): void {
    this.context = read(this.files);
    for (const server of this.servers) server.setSecureContext(this.context);
  }

  /** Before a connection is made: reloads what has changed. */
  refresh(): void {
    if (!this.watched.haveChanged()) return;
    try {
      this.reload();
    } catch (error) {
      this.onProblem((error as Error).message);
    }
  }

  /** A server that is fed with sockets: `emit("connection", socket)`. */
  serve(onSecure: (socket: TLSSocket) => void, onFailure: (error: Error, socket: TLSSocket) => void): Server {
    if (this.context.cert === undefined)
      throw new InvalidOptionError("a listener with TLS needs a certificate and its key");
    const isMutual = this.context.ca !== undefined;
    const server = createServer(
      {
        ...this.context,
        requestCert: isMutual,
        rejectUnauthorized: isMutual,
        handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
        pauseOnConnect: true,
      },
      onSecure,
    );
    server.on("tlsClientError", onFailure);
    this.servers.add(server);
    server.once("close", () => this.servers.delete(server));
    return server;
  }

  /** What a server of another protocol is made with, that asks for no certificates; {@link follow} it then. */
  get options(): SecureContextOptions {
    return { ...this.context, minVersion };
  }

  /** It shows what the files hold when a connection is made. */
  follow(server: Server): void {
    this.servers.add(server);
    server.once("close", () => this.servers.delete(server));
    server.prependListener("connection", () => this.refresh());
  }

  /** Over a connection to `host`, whose name or address the other side's certificate must carry. */
  connect(socket: Socket, host: string): Socket {
    return connect({ ...this.demands(), socket, host });
  }

  /** Dials by itself: only then does what is decrypted go where `onread` says, and not through memory of its own. */
  dial(to: NetConnectOpts & { readonly onread: OnReadOpts }): Socket {
    // The options of the connection below are taken too, though Node.js's types do not say so.
    return connect({ ...this.demands(), ...to } as ConnectionOptions);
  }

  private demands(): ConnectionOptions {
    this.refresh();
    return {
      ...this.context,
      rejectUnauthorized: this.context.ca !== undefined,
      ...(this.files.serverName !== undefined && { servername: this.files.serverName }),
    };
  }
}

function read({ cert, key, ca }: TlsFiles): SecureContextOptions {
  const context: SecureContextOptions = {
    ...(cert !== undefined && { cert: readFile(cert) }),
    ...(key !== undefined && { key: readFile(key) }),
    ...(ca !== undefined && { ca: readFile(ca) }),
    minVersion,
  };
  try {
    createSecureContext(context);
  } catch (error) {
    throw new InvalidOptionError(
      `the TLS files ${[cert, key, ca].filter(Boolean).join(", ")} cannot be used: ${(error as Error).message}`,
      { cause: error },
    );
  }
  return context;
}

function readFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new InvalidOptionError(`cannot read ${path} for TLS: ${(error as Error).message}`, { cause: error });
  }
}
