/**
 * A replicated log in NATS JetStream: one stream, one subject, one message a record.
 *
 * Why a log of commits and not a KV bucket: a commit of several keys must be all or nothing, and nobody may write in
 * between. JetStream can publish several messages as one (2.12), but then each key is a message of its own, every check
 * is made before the batch is proposed, and a batch is limited to 1,000 messages. As one message a commit, or a hundred
 * of them, costs the same as one key; its place in the stream is its order; and what the checks of the server let
 * through while its leaders change, readers pass over (log-view.ts).
 */
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import type { Msg, NatsConnection, NodeConnectionOptions } from "@nats-io/transport-node";
import { AuthenticationError, MobulaError, OutOfDiskError } from "../base/mod.ts";
import { untilReady } from "./log-ready.ts";
import type { AppendOutcome, LogRecord, ReplicatedLog } from "./replicated-log.ts";
import { isOlder } from "./server-version.ts";

export interface NatsLogOptions {
  /** `host:port` of every server. */
  readonly servers: readonly string[];
  /** Names the stream; one for each cluster: letters, digits, `-` and `_`. */
  readonly cluster: string;
  /** On how many servers the stream is kept: 3 by default, 1 for trials. An existing stream must have as many. */
  readonly replicas?: number;
  /** What the stream may take on disk; writes are refused beyond it. */
  readonly bytesMax?: number;
  /** Monitoring addresses of servers (`http://host:8222`): they are asked whether each write is synced. */
  readonly monitors?: readonly string[];
  /** Users, tokens, credentials and TLS. */
  readonly connection?: Pick<NodeConnectionOptions, "user" | "pass" | "token" | "authenticator" | "tls" | "debug">;
}

/** Before 2.12, and with the default of syncing every two minutes, a SIGKILL or a power cut lost acknowledged writes. */
const VERSION_MIN = "2.12.0";

const REQUEST_MS = 1_000;
/** A server that is silent for three of them is given up for another one, before a lease ends. */
const PING_MS = 700;
const RECONNECT_MS = 100;
const READ_RECORDS = 256;
const READ_BYTES = 4 << 20;
/** Subject, headers and framing of a message. */
const FRAME_BYTES = 4 << 10;

const WRONG_LAST_SEQUENCE = [10_071, 10_164];
const NO_SPACE = [10_023, 10_047, 10_077];
const NOT_FOUND = 10_059;

interface ApiError {
  readonly code: number;
  readonly err_code?: number;
  readonly description: string;
}

interface StreamConfig {
  readonly name: string;
  readonly subjects: readonly string[];
  readonly num_replicas: number;
  readonly storage: string;
  readonly retention: string;
  readonly discard: string;
  readonly max_age: number;
  readonly max_msgs: number;
  readonly max_msgs_per_subject: number;
  readonly persist_mode?: string;
}

/**
 * Connects, checks the servers and makes the stream where there is none.
 *
 * @throws MobulaError `STATE_UNSAFE` (`invalid`) for servers or streams that may lose acknowledged writes,
 * `STATE_UNAVAILABLE` (`unavailable`) when they do not answer for a minute.
 */
export async function openNatsLog(options: NatsLogOptions): Promise<ReplicatedLog> {
  if (!/^[\w-]{1,64}$/.test(options.cluster)) {
    throw new MobulaError(
      "INVALID_OPTION",
      "invalid",
      `"${options.cluster}" cannot name a stream: use letters, digits, - and _`,
    );
  }
  const { connect } = await import("./nats-client.ts");
  const name = `NATS stream MOBULA_${options.cluster} at ${options.servers.join(", ")}`;
  const { tls } = options.connection ?? {};
  const common: NodeConnectionOptions = {
    ...options.connection,
    ...(tls ? { tls: { ...tls, ...identityOf(options.servers) } } : {}),
    name: `mobula-${options.cluster}`,
    ignoreClusterUpdates: true,
    timeout: REQUEST_MS,
  };
  const to = (servers: string[], more: NodeConnectionOptions): Promise<NatsConnection> =>
    connect({ ...common, ...more, servers }).catch((error: Error) => {
      throw connectionError(name, error);
    });
  await untilReady(() => checkServers(options.servers, (server) => to([server], { reconnect: false })));
  await untilReady(() => checkMonitors(name, options.monitors ?? []));
  const nc = await to([...options.servers], {
    pingInterval: PING_MS,
    maxPingOut: 2,
    reconnectTimeWait: RECONNECT_MS,
    reconnectJitter: RECONNECT_MS,
    maxReconnectAttempts: -1,
  });
  try {
    const log = new NatsLog(nc, name, options.cluster);
    await log.prepare(options.replicas ?? 3, options.bytesMax ?? -1);
    return log;
  } catch (error) {
    await nc.close();
    throw error;
  }
}

/**
 * The client forgets which address it has called when that is no name. The certificate must be for one of the servers
 * that were named, whichever: it is told so in an option that it passes on.
 */
function identityOf(servers: readonly string[]): object {
  const names = servers.map((server) => new URL(`tcp://${server}`).hostname.replace(/^\[|\]$/g, ""));
  return {
    checkServerIdentity: (_: string, certificate: PeerCertificate) => {
      const errors = names.map((name) => checkServerIdentity(name, certificate));
      return errors.every((error) => error !== undefined) ? errors[0] : undefined;
    },
  };
}

/** Every server that can be reached must be new enough: the stream may come to lie on any of them. */
async function checkServers(
  servers: readonly string[],
  connectTo: (server: string) => Promise<NatsConnection>,
): Promise<void> {
  const found = await Promise.all(
    servers.map(async (server) => {
      try {
        const nc = await connectTo(server);
        const version = nc.info?.version ?? "";
        await nc.close();
        return { server, version };
      } catch (error) {
        return { server, error: error as Error };
      }
    }),
  );
  for (const { server, version } of found) {
    if (version !== undefined && isOlder(version, VERSION_MIN)) {
      throw unsafe(
        `${server} is nats-server ${version}, which can lose acknowledged writes; use ${VERSION_MIN} or newer`,
      );
    }
  }
  const [first] = found;
  if (first?.error && found.every(({ error }) => error)) throw first.error;
}

async function checkMonitors(name: string, monitors: readonly string[]): Promise<void> {
  for (const monitor of monitors) {
    const response = await fetch(`${monitor}/varz`, { signal: AbortSignal.timeout(5 * REQUEST_MS) }).catch(
      (error: Error) => {
        throw unavailable(name, `its monitor ${monitor} does not answer: ${error.message}`);
      },
    );
    const { jetstream } = (await response.json()) as { jetstream?: { config?: { sync_always?: boolean } } };
    if (jetstream?.config?.sync_always !== true) {
      throw unsafe(
        `${monitor} does not sync each write, so that a power cut can lose acknowledged ones; set sync_interval: always in its jetstream block`,
      );
    }
  }
}

class NatsLog implements ReplicatedLog {
  readonly name: string;
  readonly recordBytesMax: number;
  private readonly nc: NatsConnection;
  private readonly stream: string;
  private readonly subject: string;
  private checkedVersion = "";

  constructor(nc: NatsConnection, name: string, cluster: string) {
    this.nc = nc;
    this.name = name;
    this.stream = `MOBULA_${cluster}`;
    this.subject = `mobula.state.${cluster}`;
    this.recordBytesMax = (nc.info?.max_payload ?? 1 << 20) - FRAME_BYTES;
  }

  async prepare(replicas: number, bytesMax: number): Promise<void> {
    const config = await untilReady(async () => (await this.info()) ?? (await this.create(replicas, bytesMax)));
    this.checkStream(config, replicas);
    // A new stream answers readers a moment later.
    await untilReady(() => this.read(1));
  }

  async read(from: number): Promise<readonly LogRecord[]> {
    this.checkVersion();
    const records: LogRecord[] = [];
    await new Promise<void>((resolve, reject) => {
      const inbox = `${this.inboxPrefix()}.${++reads}`;
      const subscription = this.nc.subscribe(inbox, {
        timeout: REQUEST_MS,
        callback: (error, message) => {
          const status = error ? 0 : statusOf(message);
          if (!error && status === 0) {
            records.push(recordOf(message));
            return;
          }
          subscription.unsubscribe();
          // 204 ends a batch, 404 says that there is nothing.
          if (status === 204 || status === 404) resolve();
          else
            reject(
              unavailable(this.name, error ? error.message : `it answered ${status} ${message.headers?.description}`),
            );
        },
      });
      const request = { seq: from, batch: READ_RECORDS, max_bytes: READ_BYTES };
      this.nc.publish(`$JS.API.DIRECT.GET.${this.stream}`, JSON.stringify(request), { reply: inbox });
      // The timeout of a subscription is for its first message only.
      setTimeout(() => {
        subscription.unsubscribe();
        reject(unavailable(this.name, "it did not answer in time"));
      }, 5 * REQUEST_MS).unref();
    }).catch((error: Error) => {
      throw error instanceof MobulaError ? error : unavailable(this.name, error.message);
    });
    return records;
  }

  async append(data: Uint8Array, after: number): Promise<AppendOutcome> {
    try {
      this.checkVersion();
    } catch (error) {
      return { kind: "failed", error: error as MobulaError };
    }
    const { headers } = await import("./nats-client.ts");
    const checks = headers();
    checks.set("Nats-Expected-Stream", this.stream);
    checks.set("Nats-Expected-Last-Sequence", String(after));
    let answer: { readonly seq?: number; readonly error?: ApiError };
    try {
      const message = await this.nc.request(this.subject, data, { timeout: REQUEST_MS, headers: checks });
      answer = message.json();
    } catch (error) {
      return { kind: "unknown", error: unavailable(this.name, (error as Error).message) };
    }
    const { seq, error } = answer;
    if (error === undefined) return { kind: "appended", seq: seq ?? 0 };
    const code = error.err_code ?? 0;
    if (WRONG_LAST_SEQUENCE.includes(code)) return { kind: "refused" };
    if (NO_SPACE.includes(code)) {
      return {
        kind: "failed",
        error: new OutOfDiskError(`${this.name} cannot grow: ${error.description}; make room on its servers' disks`),
      };
    }
    return { kind: "unknown", error: unavailable(this.name, error.description) };
  }

  async trim(before: number): Promise<void> {
    await this.api(`STREAM.PURGE.${this.stream}`, { seq: before });
  }

  async close(): Promise<void> {
    await this.nc.close();
  }

  private async info(): Promise<StreamConfig | undefined> {
    const answer = await this.api<{ config: StreamConfig }>(`STREAM.INFO.${this.stream}`, {}, [NOT_FOUND]);
    return answer?.config;
  }

  private async create(replicas: number, bytesMax: number): Promise<StreamConfig> {
    const answer = await this.api<{ config: StreamConfig }>(`STREAM.CREATE.${this.stream}`, {
      name: this.stream,
      subjects: [this.subject],
      description: "state of a Mobula cluster: a log of commits",
      storage: "file",
      retention: "limits",
      discard: "new",
      num_replicas: replicas,
      max_bytes: bytesMax,
      max_consumers: -1,
      max_msgs: -1,
      max_age: 0,
      allow_direct: true,
      deny_delete: true,
    });
    if (answer === undefined) throw unavailable(this.name, "it has no stream");
    return answer.config;
  }

  private checkStream(config: StreamConfig, replicas: number): void {
    const problem =
      config.num_replicas < replicas
        ? `is kept on ${config.num_replicas} servers instead of ${replicas}`
        : config.storage !== "file"
          ? "is kept in memory"
          : config.persist_mode === "async"
            ? "is not synced (persist_mode: async)"
            : config.retention !== "limits" ||
                config.max_age > 0 ||
                config.max_msgs > 0 ||
                config.max_msgs_per_subject > 0
              ? "drops old messages by itself"
              : config.discard !== "new"
                ? 'drops old messages when it is full (it needs discard: "new")'
                : undefined;
    if (problem !== undefined) throw unsafe(`the stream ${this.stream} ${problem}; change it, or name another cluster`);
  }

  /** A connection may have moved to a server that could not be asked at the start. */
  private checkVersion(): void {
    const version = this.nc.info?.version;
    // Nothing is known while it connects again, and nothing can be sent either.
    if (version === undefined || version === this.checkedVersion) return;
    if (isOlder(version, VERSION_MIN)) {
      throw unsafe(
        `${this.nc.getServer()} is nats-server ${version}, which can lose acknowledged writes; use ${VERSION_MIN} or newer`,
      );
    }
    this.checkedVersion = version;
  }

  /** undefined for the errors that the caller expects. */
  private async api<T>(path: string, request: object, expected: readonly number[] = []): Promise<T | undefined> {
    let answer: { readonly error?: ApiError };
    try {
      answer = (await this.nc.request(`$JS.API.${path}`, JSON.stringify(request), { timeout: 5 * REQUEST_MS })).json();
    } catch (error) {
      throw unavailable(this.name, (error as Error).message);
    }
    if (answer.error === undefined) return answer as T;
    if (expected.includes(answer.error.err_code ?? 0)) return undefined;
    throw unavailable(this.name, answer.error.description);
  }

  private inbox: string | undefined;
  private inboxPrefix(): string {
    this.inbox ??= `_INBOX.${crypto.randomUUID()}`;
    return this.inbox;
  }
}

let reads = 0;

function statusOf(message: Msg): number {
  return message.headers?.code ?? 0;
}

function recordOf(message: Msg): LogRecord {
  return { seq: Number(message.headers?.get("Nats-Sequence")), data: message.data };
}

const unavailable = (name: string, why: string): MobulaError =>
  new MobulaError("STATE_UNAVAILABLE", "unavailable", `${name} cannot be used: ${why}`);

function connectionError(name: string, error: Error): MobulaError {
  const { code = "", name: kind } = error as NodeJS.ErrnoException;
  const isRefused = kind === "AuthorizationError" || kind === "UserAuthenticationExpiredError" || /CERT|SSL/.test(code);
  return isRefused
    ? new AuthenticationError(`${name} refuses: ${error.message}; check user, token, credentials and certificates`)
    : unavailable(name, error.message);
}

const unsafe = (why: string): MobulaError => new MobulaError("STATE_UNSAFE", "invalid", why);
