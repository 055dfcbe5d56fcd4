/**
 * A node's connection to control: it joins, reports each second that it lives and what is free, and hears of the others.
 *
 * The connection is a session, so a network cut is a pause. When the session ends (control is another process than before,
 * or has given this node up), the node joins anew until control welcomes or refuses it: what runs goes on meanwhile, and control
 * has given the node up only when it says so.
 *
 * Of several heads one leads; the others say who. When the one that led is silent, or says that it cannot act, the others are asked whether another leads
 * now, and that is joined. A head of an older epoch than one that was heard of is not: what it orders does not count.
 */

import { type Clock, every, machineClock, pause } from "../base/clock.ts";
import { ConnectionLostError, errorFromCode, MobulaError } from "../base/errors.ts";
import type { JobId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import { HeadAddresses, isTlsFailure, NotLeadingError } from "../transport/mod.ts";
import type {
  BetweenHomes,
  BundlesOrder,
  ForHeir,
  FromControl,
  GroupsNoted,
  HeadIdentity,
  LeasesDivided,
  NodeDescription,
  NodeFound,
  NodeStanding,
  NodeUse,
  NodeWelcome,
  ToControl,
} from "../wire/cluster-messages.ts";
import type { Answer, Queries, Query } from "../wire/mod.ts";
import { isBundlesOrder } from "./bundles.ts";
import type { ActorOrder } from "./cluster-actors.ts";
import { isOlder, isSame, leaderAmong } from "./head-probe.ts";
import { type HeadSession, type HeadWays, REDIAL, type SessionOptions } from "./head-ways.ts";

export interface ClusterLinkOptions {
  /** Of control, `host:port`; of all heads, where there are several. */
  readonly address: string;
  readonly ways: HeadWays;
  readonly clock?: Clock;
  /** Between 0 and 1, by chance. */
  readonly random?: () => number;
  readonly node: NodeDescription;
  /** Looks for control until it is found: it was a node of the cluster before. */
  readonly isPatient: boolean;
  /** @param isFirst control knows nothing of it: what is said is all. */
  use(isFirst: boolean): NodeUse;
  /** What control says of nodes that have changed. */
  onNodes(nodes: readonly NodeStanding[]): void;
  /**
   * Control has taken the node in, for the first time or again: what either said on an earlier connection may be lost.
   *
   * Control knows this node, and nothing of it that was not said since.
   *
   * @param link to answer by: the first welcome comes before {@link ClusterLink.join} has resolved, and a control that has been
   * started again may wait for what the node states then.
   */
  onWelcomed(welcome: NodeWelcome, link: ClusterLink): void;
  onFound(message: NodeFound): void;
  onDivided(message: LeasesDivided): void;
  /** These jobs have quotas, and no others. */
  onLimits(jobs: readonly JobId[], quotas: readonly ResourceUnits[]): void;
  /** Where the state service listens for nodes now; undefined: nowhere. */
  onStateService?(address: string | undefined): void;
  /** The node is to end when what it does has, or after so long. */
  onDrain(deadlineMs: number): void;
  /** Control is gone, or this session with it: what was said and not answered may be lost. */
  onLost(): void;
  /** What placement groups are to have of this node. */
  onBundles(order: BundlesOrder): void;
  /** Of groups that this node has placed, what control has written down. */
  onGroupsNoted(noted: GroupsNoted): void;
  /** Before anything is said to control. */
  onSaying(): void;
  /** What control says of actors. */
  onActors(message: ActorOrder | BetweenHomes | ForHeir): void;
  /** Control asks; it is answered by {@link ClusterLink.say}. */
  onQuery(query: Query): void;
  /** Control has given this node up, for good. */
  onExpelled(error: MobulaError): void;
  /** How it goes, for the log. */
  onNews(message: string): void;
}

/** A head before this version of the wire takes every report for all that there is to say. */
const SINCE_SHORT_REPORTS = 2;
const REPORT_MS = 1_000;
/** What changes often is said so much later. */
const CHANGE_MS = 50;
/** While the head that led is silent, others are asked so often. */
const PROBE_MS = 300;
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
  private readonly clock: Clock;
  private readonly endReports: () => void;
  /** Takes back the report that is due soon. */
  private soon: (() => void) | undefined;
  private session: HeadSession | undefined;
  private readonly heads: HeadAddresses;
  /** That of the last welcome. */
  private head: HeadIdentity | undefined;
  private readonly endProbes: () => void;
  private isProbing = false;
  /** A head is being dialled. */
  private attempt: AbortController | undefined;
  /** The head that led says that it cannot act. */
  private isSuspended = false;
  /** Of this connection, when it was last looked at. */
  private arrivedBytes = 0;
  private isLeaving = false;
  private nextId = 1;
  /** What both speak in this session. */
  private version = 0;
  /** What was reported last in this session. */
  private said = "";
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
    this.heads = new HeadAddresses(options.address);
    this.clock = options.clock ?? machineClock;
    this.endReports = every(REPORT_MS, () => this.report(), this.clock);
    this.endProbes = every(PROBE_MS, () => this.probe(), this.clock);
  }

  /** Of all heads that are known, the one that leads first: `host:port,host:port`. */
  get headAddresses(): string {
    const { current, all } = this.heads;
    return [current, ...all.filter((address) => address !== current)].join(",");
  }

  /** Something that reports tell has changed. */
  changed(): void {
    this.soon ??= this.clock.later(CHANGE_MS, () => this.report());
  }

  /** Asked again when another control takes over. @throws ConnectionLostError when nobody answers in time. */
  query<M extends keyof Queries>(method: M, params: Queries[M]["params"]): Promise<Queries[M]["result"]> {
    return new Promise((resolve, reject) => {
      const id = this.nextId++;
      const takeBack = this.clock.later(ANSWER_MS, () => {
        this.asked.delete(id);
        reject(new ConnectionLostError(`control (${this.heads.current}) did not answer within ${ANSWER_MS} ms`));
      });
      const settled = (): void => {
        takeBack();
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
    const { session, clock } = this;
    this.isLeaving = true;
    this.say({ t: "node-leave" });
    session?.close();
    for (const deadline = clock.nowMs() + LEAVE_MS; session && !session.isClosed && clock.nowMs() < deadline; )
      await pause(5, undefined, clock);
    this.close();
  }

  close(): void {
    this.stopped.abort();
    this.endReports();
    this.endProbes();
    this.soon?.();
    this.session?.destroy();
    for (const { reject } of this.asked.values()) reject(new ConnectionLostError("the node ends"));
  }

  get isConnected(): boolean {
    return this.head !== undefined && this.session?.isConnected === true;
  }

  /** Control speaks this version of the wire, or a newer one. Of the last session. */
  isOfVersion(version: number): boolean {
    return this.version >= version;
  }

  /** Says how things are now, before what is said next. @param isAll as to a control that knows nothing of it. */
  report(isAll = false): void {
    this.soon?.();
    this.soon = undefined;
    // While there is no connection reports would only be kept; the first after it says how things are then.
    if (!this.isConnected) return;
    // What it leads to is part of how things are.
    this.options.onSaying();
    this.say(this.reportOf(this.options.use(isAll)));
  }

  private reportOf(use: NodeUse): ToControl {
    const { bundles, ...rest } = use;
    const said = JSON.stringify(rest);
    const isNews = bundles !== undefined || said !== this.said || this.version < SINCE_SHORT_REPORTS;
    this.said = said;
    return isNews ? { t: "node-report", use } : { t: "node-report" };
  }

  /** Waits for the connection while that is cut; lost when control has to be joined anew. */
  say(message: ToControl): void {
    this.options.onSaying();
    this.session?.send(message);
  }

  private async keepConnected(): Promise<void> {
    const { signal } = this.stopped;
    const { isPatient } = this.options;
    const startedAt = this.clock.nowMs();
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
        this.heads.failed(error);
        // Certificates that do not fit will not fit in a second.
        const isWaiting =
          (error instanceof ConnectionLostError || error instanceof NotLeadingError) &&
          (isPatient || (!isTlsFailure(error) && this.clock.nowMs() - startedAt < JOIN_MS));
        if (this.joined && !isWaiting) {
          this.joined.reject(error as Error);
          return;
        }
        if (error instanceof NotLeadingError && error.leader === this.heads.current) waitMs = REDIAL.firstMs;
        else this.options.onNews(`control cannot be reached: ${message}`);
      }
      // Many lose control at the same moment; they do not come back at the same one.
      const { random = Math.random } = this.options;
      await pause(waitMs * (0.5 + random()), signal, this.clock);
      waitMs = Math.min(2 * waitMs, REDIAL.maxMs);
    }
  }

  /** Resolves when connected, to what tells of the end. */
  private async connect(): Promise<Promise<Error>> {
    const { node, onNews } = this.options;
    const { promise, resolve } = Promise.withResolvers<Error>();
    let isAccepted = false;
    const { session, head, version } = await this.dial({
      handlers: {
        onMessage: (message) => {
          if (isAccepted) this.hear(message as FromControl, head);
        },
        onClose: (error) => {
          this.session = undefined;
          this.options.onLost();
          resolve(error ?? new ConnectionLostError("control closed it"));
        },
      },
      onSuspended: (why) => {
        if (!this.isLeaving) onNews(`the connection to control broke: ${why?.message ?? "control closed it"}`);
      },
      onResumed: () => this.report(),
    });
    const address = this.heads.current;
    if (isOlder(head, this.head)) {
      session.destroy();
      throw new ConnectionLostError(`the head at ${address} is one that another has followed`);
    }
    isAccepted = true;
    this.heads.lead(address);
    this.session = session;
    this.version = version;
    this.said = "";
    this.isSuspended = false;
    this.arrivedBytes = 0;
    const memberSince = this.head?.epoch;
    const use = this.options.use(true);
    this.say({ t: "node-join", node, use, ...(memberSince !== undefined && { memberSince }) });
    for (const { query } of this.asked.values()) this.say(query);
    return promise;
  }

  /** Tries one head after the other of those that are found to lead, while the one that is dialled does not answer. */
  private async dial(
    how: Pick<SessionOptions, "handlers" | "onSuspended" | "onResumed">,
  ): ReturnType<HeadWays["dial"]> {
    const { heads, stopped } = this;
    for (;;) {
      const attempt = new AbortController();
      this.attempt = attempt;
      try {
        return await this.options.ways.dial(heads.current, {
          ...how,
          isOneOfSeveral: heads.all.length > 1,
          signal: AbortSignal.any([stopped.signal, attempt.signal]),
        });
      } catch (error) {
        if (!attempt.signal.aborted) throw error;
      } finally {
        this.attempt = undefined;
      }
    }
  }

  /** Whether another head leads, when the one that is heard, or dialled, is silent. */
  private probe(): void {
    const { session, attempt, heads, head } = this;
    if (heads.all.length < 2) return;
    const isSilent = attempt !== undefined || (session !== undefined && head !== undefined && this.isSilent(session));
    if (!isSilent || this.isProbing) return;
    this.isProbing = true;
    const { signal } = this.stopped;
    const others = heads.all.filter((address) => address !== heads.current);
    // Without a session, the one that led last will do.
    const mayLead = (other: HeadIdentity): boolean =>
      !isOlder(other, head) && (attempt !== undefined || head === undefined || !isSame(other, head));
    void leaderAmong(others, mayLead, (address) => this.options.ways.ask(address, signal)).then((address) => {
      this.isProbing = false;
      if (address === undefined || this.session !== session || this.attempt !== attempt || signal.aborted) return;
      heads.lead(address);
      attempt?.abort();
      session?.destroy(new ConnectionLostError(`the head at ${address} leads now`));
    });
  }

  private isSilent(session: HeadSession): boolean {
    const hasStalled = session.awaitsAck && session.arrivedBytes === this.arrivedBytes;
    this.arrivedBytes = session.arrivedBytes;
    return this.isSuspended || !session.isConnected || hasStalled;
  }

  private hear(message: FromControl, head: HeadIdentity): void {
    switch (message.t) {
      case "node-welcome":
        this.head = head;
        this.options.onWelcomed(message, this);
        this.joined?.resolve();
        this.joined = undefined;
        return;
      case "known-heads":
        this.heads.add(message.addresses);
        this.isSuspended = message.isSuspended ?? false;
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
      case "groups-noted":
        this.options.onGroupsNoted(message);
        return;
      case "limited-jobs":
        this.options.onLimits(message.jobs, message.quotas ?? []);
        return;
      case "state-service":
        this.options.onStateService?.(message.address ?? undefined);
        return;
      case "node-drain":
        this.options.onDrain(message.deadlineMs);
        return;
      case "answer":
        this.answered(message);
        return;
      case "query":
        this.options.onQuery(message);
        return;
      default:
        if (isBundlesOrder(message)) this.options.onBundles(message);
        else this.options.onActors(message);
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
