/**
 * A node's connection to control: it joins, reports each second that it lives and what is free, and hears of the others.
 *
 * The connection is a session, so a network cut is a pause. When the session ends (control is another process than before,
 * or has given this node up), the node joins anew until control welcomes or refuses it: what runs goes on meanwhile, and control
 * has given the node up only when it says so.
 */
import { setTimeout as delay } from "node:timers/promises";
import { ConnectionLostError, errorFromCode, MobulaError } from "../base/errors.ts";
import { type Access, dialPeer, isTlsFailure, type ResumablePeer } from "../transport/mod.ts";
import type {
  BetweenHomes,
  FromControl,
  LeasesDivided,
  NodeDescription,
  NodeFound,
  NodeStanding,
  NodeUse,
  ToControl,
} from "../wire/cluster-messages.ts";
import type { Answer, Queries, Query } from "../wire/mod.ts";
import type { ActorOrder } from "./cluster-actors.ts";

export interface ClusterLinkOptions {
  /** Of control, `host:port`. */
  readonly address: string;
  readonly access: Access;
  readonly node: NodeDescription;
  /** Looks for control until it is found: it was a node of the cluster before. */
  readonly isPatient: boolean;
  use(): NodeUse;
  /** What control says of nodes that have changed. */
  onNodes(nodes: readonly NodeStanding[]): void;
  /**
   * Control has taken the node in, for the first time or again: what either said on an earlier connection may be lost.
   *
   * Control knows this node, and nothing of it that was not said since.
   *
   * @param nodes all that are not dead.
   */
  onWelcomed(nodes: readonly NodeStanding[], epoch: number): void;
  onFound(message: NodeFound): void;
  onDivided(message: LeasesDivided): void;
  /** The node is to end when what it does has, or after so long. */
  onDrain(deadlineMs: number): void;
  /** Control is gone, or this session with it: what was said and not answered may be lost. */
  onLost(): void;
  /** What control says of actors. */
  onActors(message: ActorOrder | BetweenHomes): void;
  /** Control has given this node up, for good. */
  onExpelled(error: MobulaError): void;
  /** How it goes, for the log. */
  onNews(message: string): void;
}

const REPORT_MS = 1_000;
/** What changes often is said so much later. */
const CHANGE_MS = 50;
/**
 * Of 4 s of silence a cut may take all but a report's interval and this. A connection that was cut repeats itself at intervals that
 * double: after 2 s of cut, a second one is there a second before the first.
 */
const STALLED = { stalledMs: 500, connectTimeoutMs: 1_200 };
/** A new head is found within half a second; and many nodes that look for one do not keep it from beginning. */
const REDIAL = { firstMs: 50, maxMs: 500 };
/** How long a node that begins looks for control. */
const JOIN_MS = 10_000;
const ANSWER_MS = 5_000;

interface Asked {
  readonly query: Query;
  resolve(result: unknown): void;
  reject(error: Error): void;
}
const LEAVE_MS = 500;

export class ClusterLink {
  private readonly options: ClusterLinkOptions;
  private readonly stopped = new AbortController();
  private readonly asked = new Map<number, Asked>();
  private readonly reports: NodeJS.Timeout;
  private soon: NodeJS.Timeout | undefined;
  private peer: ResumablePeer | undefined;
  /** The epoch of the last welcome. */
  private memberSince: number | undefined;
  private isLeaving = false;
  private nextId = 1;
  private joined: { resolve(): void; reject(error: Error): void } | undefined;

  /**
   * Resolves when the node is a member.
   *
   * @throws ConnectionLostError when control is not found within 10 s; AuthenticationError, VersionMismatchError; what
   * control refuses with.
   */
  static async join(options: ClusterLinkOptions): Promise<ClusterLink> {
    const link = new ClusterLink(options);
    try {
      await new Promise<void>((resolve, reject) => {
        link.joined = { resolve, reject };
        void link.keepConnected();
      });
    } catch (error) {
      link.close();
      throw error;
    }
    return link;
  }

  private constructor(options: ClusterLinkOptions) {
    this.options = options;
    this.reports = setInterval(() => this.report(), REPORT_MS);
  }

  /** Something that reports tell has changed. */
  changed(): void {
    this.soon ??= setTimeout(() => this.report(), CHANGE_MS);
  }

  /** Asked again when another control takes over. @throws ConnectionLostError when nobody answers in time. */
  query<M extends keyof Queries>(method: M, params: Queries[M]["params"]): Promise<Queries[M]["result"]> {
    return new Promise((resolve, reject) => {
      const id = this.nextId++;
      const timer = setTimeout(() => {
        this.asked.delete(id);
        reject(new ConnectionLostError(`control (${this.options.address}) did not answer within ${ANSWER_MS} ms`));
      }, ANSWER_MS);
      const settled = (): void => {
        clearTimeout(timer);
        this.asked.delete(id);
      };
      const query: Query = { t: "query", id, method, params };
      this.asked.set(id, {
        query,
        resolve: (result) => {
          settled();
          resolve(result as Queries[M]["result"]);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      });
      this.say(query);
    });
  }

  /** Says that the node ends in order. */
  async leave(): Promise<void> {
    const { peer } = this;
    this.isLeaving = true;
    this.say({ t: "node-leave" });
    peer?.close();
    for (const deadline = Date.now() + LEAVE_MS; peer && !peer.isClosed && Date.now() < deadline; ) await delay(5);
    this.close();
  }

  close(): void {
    this.stopped.abort();
    clearInterval(this.reports);
    clearTimeout(this.soon);
    this.peer?.destroy();
    for (const { reject } of this.asked.values()) reject(new ConnectionLostError("the node ends"));
  }

  private report(): void {
    clearTimeout(this.soon);
    this.soon = undefined;
    // While there is no connection reports would only be kept; the first after it says how things are then.
    if (this.memberSince === undefined || !this.peer?.isConnected) return;
    this.say({ t: "node-report", use: this.options.use() });
  }

  /** Waits for the connection while that is cut; lost when control has to be joined anew. */
  say(message: ToControl): void {
    this.peer?.send(message);
  }

  private async keepConnected(): Promise<void> {
    const { signal } = this.stopped;
    const { isPatient } = this.options;
    const startedAt = Date.now();
    let waitMs = REDIAL.firstMs;
    while (!signal.aborted) {
      try {
        const ended = await this.connect();
        waitMs = REDIAL.firstMs;
        const error = await ended;
        if (this.isLeaving) return;
        if (!signal.aborted) this.options.onNews(`the connection to control was lost: ${error.message}`);
      } catch (error) {
        if (signal.aborted) return;
        const { message } = error as Error;
        // Certificates that do not fit will not fit in a second.
        const isWaiting =
          error instanceof ConnectionLostError &&
          (isPatient || (!isTlsFailure(error) && Date.now() - startedAt < JOIN_MS));
        if (this.joined && !isWaiting) {
          this.joined.reject(error as Error);
          return;
        }
        this.options.onNews(`control cannot be reached: ${message}`);
      }
      // Many lose control at the same moment; they do not come back at the same one.
      await delay(waitMs * (0.5 + Math.random()), undefined, { signal }).catch(() => {});
      waitMs = Math.min(2 * waitMs, REDIAL.maxMs);
    }
  }

  /** Resolves when connected, to what tells of the end. */
  private async connect(): Promise<Promise<Error>> {
    const { address, access, node, onNews } = this.options;
    const { promise, resolve } = Promise.withResolvers<Error>();
    const { peer } = await dialPeer({
      address,
      token: access.token,
      tls: access.tls,
      role: "node",
      who: { nodeId: node.nodeId },
      backoff: REDIAL,
      ...STALLED,
      signal: this.stopped.signal,
      handlers: {
        onMessage: (message) => this.hear(message as FromControl),
        onClose: (error) => {
          this.peer = undefined;
          this.options.onLost();
          resolve(error ?? new ConnectionLostError("control closed it"));
        },
      },
      onSuspended: (why) => {
        if (!this.isLeaving) onNews(`the connection to control broke: ${why?.message ?? "control closed it"}`);
      },
      onResumed: () => this.report(),
    });
    this.peer = peer;
    const { memberSince } = this;
    this.say({ t: "node-join", node, use: this.options.use(), ...(memberSince !== undefined && { memberSince }) });
    for (const { query } of this.asked.values()) this.say(query);
    return promise;
  }

  private hear(message: FromControl): void {
    switch (message.t) {
      case "node-welcome":
        this.memberSince = message.epoch;
        this.options.onWelcomed(message.nodes, message.epoch);
        this.joined?.resolve();
        this.joined = undefined;
        return;
      case "nodes-changed":
        this.options.onNodes(message.nodes);
        return;
      case "node-refused": {
        const error = errorFromCode(message.code, message.kind, message.message);
        this.stopped.abort();
        if (this.joined) this.joined.reject(error);
        else this.options.onExpelled(error);
        return;
      }
      case "node-found":
        this.options.onFound(message);
        return;
      case "leases-divided":
        this.options.onDivided(message);
        return;
      case "node-drain":
        this.options.onDrain(message.deadlineMs);
        return;
      case "answer":
        this.answered(message);
        return;
      default:
        this.options.onActors(message);
    }
  }

  private answered({ id, result, error }: Answer): void {
    const asked = this.asked.get(id);
    if (error) asked?.reject(new MobulaError(error.code, error.kind, error.message));
    else asked?.resolve(result);
  }
}

/** Of nodes that can be counted on: what they have, or have free, together. */
export function sumOf(
  nodes: Queries["nodes"]["result"],
  what: "resources" | "available",
): Readonly<Record<string, number>> {
  const sum: Record<string, number> = {};
  for (const node of nodes) {
    if (node.state === "dead") continue;
    for (const [name, amount] of Object.entries(node[what])) sum[name] = (sum[name] ?? 0) + amount;
  }
  return sum;
}
