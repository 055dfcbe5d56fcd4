/**
 * The parent of the state service: a head, or a node without a cluster. It listens for HTTP, starts the service when the first
 * connection comes (or when it is told to), and gives it what listens. When the service ends by itself, it listens again and
 * starts another one.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createServer, isIP, type Server, type Socket } from "node:net";
import { compileCacheEnvironment } from "../bin/cache-directory.ts";
import { processCommand } from "../bin/entries.ts";
import { listenHere, parsePorts } from "../transport/mod.ts";
import type { AccessFiles } from "../wire/mod.ts";
import { openStderr } from "./session-folder.ts";

/** Whom the service asks what control knows. */
export type ControlPlace =
  | { readonly kind: "head"; readonly address: string }
  | { readonly kind: "node"; readonly nodeSocket: string; readonly token: string; readonly nodeId: string };

/** What the service is told at its start. */
export interface StateServiceConfig {
  readonly access: AccessFiles;
  readonly control: ControlPlace;
  /** Where it listens for nodes. */
  readonly link: { readonly host: string; readonly advertise?: string };
  /** Where people reach it: `http://127.0.0.1:8265`. */
  readonly url: string;
  /** It has no end of its own: one-time codes have none either. */
  readonly isEmbedded: boolean;
  /** Of its parent, for its log. */
  readonly sessionDir: string;
  /** For what is uploaded. */
  readonly packagesDir: string;
}

/** From the parent; sockets come along. */
export type ParentWord =
  | { readonly t: "begin"; readonly config: StateServiceConfig }
  | { readonly t: "listen" | "connection" };
/** It listens for nodes there. */
export interface ServiceWord {
  readonly t: "ready";
  readonly link: string;
}

export interface StateServiceOptions {
  readonly host: string;
  /** A port, or a range that is tried in order. */
  readonly ports: string | number;
  readonly isTls: boolean;
  config(url: string): Omit<StateServiceConfig, "url">;
  /** The service listens for nodes there; undefined: it has ended. */
  onLink(address: string | undefined): void;
  onNews(message: string): void;
}

const RESTART_MS = { first: 250, max: 10_000 };
/** One that has lived so long has not failed at its start. */
const GOOD_AFTER_MS = 30_000;
const LISTEN_AGAIN_MS = 50;
const WAITING_MAX = 64;

export class StateService {
  /** `http://127.0.0.1:8265` */
  readonly url: string;
  private readonly options: StateServiceOptions;
  private readonly host: string;
  private readonly port: number;
  private server: Server | undefined;
  private child: ChildProcess | undefined;
  /** Connections that came before the service was there. */
  private waiting: Socket[] = [];
  private failures = 0;
  private hasStopped = false;
  private timer: NodeJS.Timeout | undefined;

  /** @throws Error when no port of the range is free. */
  static async open(options: StateServiceOptions): Promise<StateService> {
    const { first, last } = parsePorts(options.ports);
    for (let port = first; ; port++) {
      try {
        const server = await listen(options.host, port);
        return new StateService(options, server);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE" || port >= last) throw error;
      }
    }
  }

  private constructor(options: StateServiceOptions, server: Server) {
    this.options = options;
    const { port } = server.address() as { readonly port: number };
    this.host = options.host;
    this.port = port;
    const shown = options.host === "::" || options.host === "0.0.0.0" ? "127.0.0.1" : options.host;
    this.url = `${options.isTls ? "https" : "http"}://${shown.includes(":") ? `[${shown}]` : shown}:${port}`;
    this.await(server);
  }

  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** Without waiting for a connection. */
  start(): void {
    if (this.child || this.hasStopped) return;
    clearTimeout(this.timer);
    const { execPath, args } = processCommand("state");
    const config: StateServiceConfig = { ...this.options.config(this.url), url: this.url };
    const stderr = openStderr(config.sessionDir, "state");
    const child = spawn(execPath, ["--max-semi-space-size=4", ...args], {
      stdio: ["ignore", "ignore", stderr, "ipc"],
      env: { ...withoutSecrets(process.env), ...compileCacheEnvironment() },
    });
    this.child = child;
    const startedMs = Date.now();
    const word = (message: ParentWord, socket?: Server | Socket): void => {
      // It may end at any moment; that is told by its exit.
      child.send(message, socket, {}, () => {});
    };
    word({ t: "begin", config });
    child.on("message", (message) => {
      const { link } = message as ServiceWord; // It says nothing else.
      const { server, waiting } = this;
      this.server = undefined;
      this.waiting = [];
      if (server) {
        word({ t: "listen" }, server);
        server.close();
      }
      for (const socket of waiting) word({ t: "connection" }, socket);
      this.options.onLink(link);
    });
    child.once("error", (error) => this.options.onNews(`the state service cannot be started: ${error.message}`));
    child.once("close", (code, signal) => {
      this.child = undefined;
      if (this.hasStopped) return;
      this.failures = Date.now() - startedMs > GOOD_AFTER_MS ? 0 : this.failures + 1;
      this.options.onNews(`the state service has ended (${signal ?? `exit code ${code}`}); it is started again`);
      this.options.onLink(undefined);
      void this.listenAgain();
      this.timer = setTimeout(() => this.start(), Math.min(RESTART_MS.max, RESTART_MS.first * 2 ** this.failures));
      this.timer.unref();
    });
    // Nothing that is awaited keeps its parent alive.
    child.unref();
    child.channel?.unref();
  }

  stop(): void {
    this.hasStopped = true;
    clearTimeout(this.timer);
    this.server?.close();
    for (const socket of this.waiting) socket.destroy();
    this.child?.kill("SIGKILL");
  }

  /** The first connection starts the service. */
  private await(server: Server): void {
    this.server = server;
    server.unref();
    server.on("connection", (socket: Socket) => {
      socket.on("error", () => socket.destroy());
      if (this.waiting.length >= WAITING_MAX) socket.destroy();
      else this.waiting.push(socket);
      this.start();
    });
  }

  /** What the last one was given has gone with it, in a moment. */
  private async listenAgain(): Promise<void> {
    while (!this.hasStopped && !this.server) {
      try {
        this.await(await listen(this.host, this.port));
      } catch {
        await new Promise((resolve) => setTimeout(resolve, LISTEN_AGAIN_MS).unref());
      }
    }
  }
}

function listen(host: string, port: number): Promise<Server> {
  const server = createServer({ pauseOnConnect: true });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      resolve(server);
    });
    const family = isIP(host);
    if (family === 0) server.listen(port, host);
    else listenHere(server, host, port, family);
  });
}

/** Tokens are in files. */
function withoutSecrets({ MOBULA_TOKEN: _token, MOBULA_NODE: _node, MOBULA_HEAD: _head, ...env }: NodeJS.ProcessEnv) {
  return env;
}
