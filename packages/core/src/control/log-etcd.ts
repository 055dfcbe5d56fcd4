/**
 * A replicated log in etcd: a key for each record, and one that holds the number of the last record, written in one
 * transaction that compares it. Through the JSON gateway of every etcd server, so without a client of our own to load:
 * the package `etcd3` has had no release for years and brings gRPC along.
 */
import { Agent as HttpAgent, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { AuthenticationError, MobulaError, OutOfDiskError } from "../base/mod.ts";
import { untilReady } from "./log-ready.ts";
import type { AppendOutcome, LogRecord, ReplicatedLog } from "./replicated-log.ts";
import { isOlder } from "./server-version.ts";

export interface EtcdLogOptions {
  /** `http://host:2379` of every server. */
  readonly servers: readonly string[];
  /** Names the keys, `mobula/<cluster>/…`; one for each cluster. */
  readonly cluster: string;
  readonly user?: string;
  readonly password?: string;
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  /**
   * Lets etcd forget old versions of all keys but the last thousand: without it (or `--auto-compaction-retention`) it
   * fills up. Default true; false where others keep their keys in the same etcd.
   */
  readonly compact?: boolean;
}

/** Before, a crash could lose acknowledged writes (a single server), or leave servers that differ. */
const VERSION_MIN = "3.5.5";

const REQUEST_MS = 1_000;
const READ_RECORDS = 32;
/** Of the 1.5 MiB that etcd takes by default. */
const RECORD_BYTES_MAX = 1 << 20;
const KEPT_REVISIONS = 1_000;
const SEQ_DIGITS = 16;

/** Codes of gRPC. */
const INVALID_ARGUMENT = 3;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const UNAUTHENTICATED = 16;

interface KeyValue {
  readonly key: string;
  readonly value: string;
}

/**
 * @throws MobulaError `STATE_UNSAFE` (`invalid`) for servers that may lose acknowledged writes, `STATE_UNAVAILABLE`
 * (`unavailable`) when none answers for a minute, `AUTHENTICATION` (`invalid`).
 */
export async function openEtcdLog(options: EtcdLogOptions): Promise<ReplicatedLog> {
  if (!/^[\w-]{1,64}$/.test(options.cluster)) {
    throw new MobulaError(
      "INVALID_OPTION",
      "invalid",
      `"${options.cluster}" cannot name keys: use letters, digits, - and _`,
    );
  }
  const log = new EtcdLog(options);
  try {
    await log.prepare();
    return log;
  } catch (error) {
    await log.close();
    throw error;
  }
}

/** A refusal by etcd, with the code of gRPC. */
class EtcdError extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

class EtcdLog implements ReplicatedLog {
  readonly name: string;
  readonly recordBytesMax = RECORD_BYTES_MAX;
  private readonly options: EtcdLogOptions;
  private readonly agent: HttpAgent | HttpsAgent;
  private readonly prefix: string;
  private server = 0;
  private token: string | undefined;

  constructor(options: EtcdLogOptions) {
    this.options = options;
    this.prefix = `mobula/${options.cluster}/`;
    this.name = `etcd at ${options.servers.join(", ")} under ${this.prefix}`;
    const isSecure = options.servers.some((server) => server.startsWith("https:"));
    this.agent = isSecure ? new HttpsAgent({ keepAlive: true, ...options.tls }) : new HttpAgent({ keepAlive: true });
  }

  async prepare(): Promise<void> {
    await untilReady(() => this.checkServers());
    // Answered only by servers that agree on a leader.
    await untilReady(() => this.read(Number.MAX_SAFE_INTEGER));
  }

  async read(from: number): Promise<readonly LogRecord[]> {
    const { kvs = [] } = await this.asked<{ kvs?: KeyValue[] }>("kv/range", {
      key: base64(this.recordKey(from)),
      range_end: base64(`${this.prefix}log0`),
      limit: READ_RECORDS,
    });
    return kvs.map(({ key, value }) => ({
      seq: Number(Buffer.from(key, "base64").toString().slice(-SEQ_DIGITS)),
      data: Buffer.from(value, "base64"),
    }));
  }

  async append(data: Uint8Array, after: number): Promise<AppendOutcome> {
    const last = base64(`${this.prefix}last`);
    const seq = after + 1;
    const compare =
      after === 0
        ? { key: last, target: "CREATE", result: "EQUAL", create_revision: "0" }
        : { key: last, target: "VALUE", result: "EQUAL", value: base64(String(after)) };
    const puts = [
      { request_put: { key: last, value: base64(String(seq)) } },
      { request_put: { key: base64(this.recordKey(seq)), value: Buffer.from(data).toString("base64") } },
    ];
    try {
      const { succeeded } = await this.call<{ succeeded?: boolean }>("kv/txn", { compare: [compare], success: puts });
      return succeeded ? { kind: "appended", seq } : { kind: "refused" };
    } catch (error) {
      return error instanceof EtcdError && isFinal(error)
        ? { kind: "failed", error: this.errorOf(error) }
        : { kind: "unknown", error: this.errorOf(error as Error) };
    }
  }

  async trim(before: number): Promise<void> {
    const { header } = await this.asked<{ header: { revision: string } }>("kv/deleterange", {
      key: base64(`${this.prefix}log/`),
      range_end: base64(this.recordKey(before)),
    });
    const revision = Number(header.revision) - KEPT_REVISIONS;
    if (this.options.compact === false || revision <= 0) return;
    await this.call("kv/compaction", { revision: String(revision) }).catch((error: Error) => {
      // Somebody else has compacted further.
      if (!/compacted/.test(error.message)) throw this.errorOf(error);
    });
  }

  async close(): Promise<void> {
    this.agent.destroy();
  }

  private recordKey(seq: number): string {
    return `${this.prefix}log/${String(seq).padStart(SEQ_DIGITS, "0")}`;
  }

  private async checkServers(): Promise<void> {
    const found = await Promise.all(
      this.options.servers.map(async (server) => {
        try {
          const { etcdserver = "" } = (await this.send(server, "GET", "version")) as { etcdserver?: string };
          return { server, version: etcdserver };
        } catch (error) {
          return { server, error: error as Error };
        }
      }),
    );
    for (const { server, version } of found) {
      if (version !== undefined && isOlder(version, VERSION_MIN)) {
        throw new MobulaError(
          "STATE_UNSAFE",
          "invalid",
          `${server} is etcd ${version}, which can lose acknowledged writes; use ${VERSION_MIN} or newer`,
        );
      }
    }
    const [first] = found;
    if (first?.error && found.every(({ error }) => error)) throw this.errorOf(first.error);
  }

  private asked<T>(path: string, body: object): Promise<T> {
    return this.call<T>(path, body).catch((error: Error) => {
      throw this.errorOf(error);
    });
  }

  /** Asks one server; the next call goes to another one if this one does not answer. */
  private async call<T>(path: string, body: object): Promise<T> {
    const { servers, user } = this.options;
    const server = servers[this.server % servers.length] ?? "";
    const { token } = this;
    try {
      if (user !== undefined) this.token ??= await this.authenticate(server);
      return (await this.send(server, "POST", `v3/${path}`, body)) as T;
    } catch (error) {
      const isStale = error instanceof EtcdError && error.code === UNAUTHENTICATED && token !== undefined;
      if (isStale) {
        // Tokens live for five minutes after their last use.
        this.token = undefined;
        return this.call(path, body);
      }
      if (!(error instanceof EtcdError) || !(isFinal(error) || isRefused(error))) this.server++;
      throw error;
    }
  }

  private async authenticate(server: string): Promise<string> {
    const { user: name, password } = this.options;
    const answer = (await this.send(server, "POST", "v3/auth/authenticate", { name, password })) as { token: string };
    return answer.token;
  }

  private send(server: string, method: string, path: string, body?: object): Promise<unknown> {
    const url = new URL(path, server.endsWith("/") ? server : `${server}/`);
    const request = url.protocol === "https:" ? httpsRequest : httpRequest;
    const text = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const outgoing = request(url, {
        method,
        agent: this.agent,
        signal: AbortSignal.timeout(REQUEST_MS),
        headers: {
          ...(text === undefined
            ? {}
            : { "content-type": "application/json", "content-length": Buffer.byteLength(text) }),
          ...(this.token === undefined ? {} : { authorization: this.token }),
        },
      });
      outgoing.once("error", reject);
      outgoing.once("response", (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.once("error", reject);
        response.once("end", () => {
          try {
            const answer = JSON.parse(Buffer.concat(chunks).toString()) as { code?: number; message?: string };
            if (response.statusCode === 200) resolve(answer);
            else reject(new EtcdError(answer.code ?? 0, answer.message ?? `status ${response.statusCode}`));
          } catch (error) {
            reject(error as Error);
          }
        });
      });
      outgoing.end(text);
    });
  }

  private errorOf(error: Error): MobulaError {
    if (error instanceof EtcdError && isFull(error)) {
      return new OutOfDiskError(
        `${this.name} cannot grow: ${error.message}; compact and defragment it, raise its quota, and disarm its alarm`,
      );
    }
    if (error instanceof EtcdError && isRefused(error)) {
      return new AuthenticationError(`${this.name} refuses: ${error.message}; check user and password`);
    }
    return new MobulaError("STATE_UNAVAILABLE", "unavailable", `${this.name} cannot be used: ${error.message}`);
  }
}

/** A repetition would fail as well, and nothing was written. */
const isFinal = (error: EtcdError): boolean =>
  error.code === INVALID_ARGUMENT || error.code === PERMISSION_DENIED || isFull(error);

/** The code is also that of a server which has too much to do. */
const isFull = ({ code, message }: EtcdError): boolean => code === RESOURCE_EXHAUSTED && /space/.test(message);

const isRefused = ({ code, message }: EtcdError): boolean =>
  code === UNAUTHENTICATED ||
  code === PERMISSION_DENIED ||
  (code === INVALID_ARGUMENT && /authentication|user name/.test(message));

const base64 = (text: string): string => Buffer.from(text).toString("base64");
