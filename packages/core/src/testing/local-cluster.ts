/** A cluster on this machine, for tests: real processes, which can be killed, stopped and started again. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Context, type InitOptions, init } from "../api/mod.ts";
import { ConnectionLostError, InvalidOptionError } from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";
import { PLACE, type Place } from "../driver/mod.ts";
import { askHead } from "../head/mod.ts";
import { NETWORK_VARIABLE } from "../transport/mod.ts";
import { Hosts } from "./hosts.ts";
import { Links } from "./links.ts";
import { type ControlPlace, Member } from "./member.ts";
import { Network } from "./network.ts";
import { STATE_SERVERS, type StateServer, startStateServers } from "./state-servers.ts";
import type { ClusterMember, ClusterNode, ClusterServer, LocalClusterOptions, NodeSpec } from "./types.ts";

/** Members' names are those of folders: below them lie sockets, whose paths may have about a hundred bytes. */
const FOLDER_CHARS_MAX = 24;
/** Links are called by the names of folders. */
const HEAD = "head";
const DRIVER = "driver";
const STANDBY = "standby";
/** A node that was drained has so long for its end. */
const DRAINED_MS = 5_000;
const ONE_CPU: NodeSpec = { resources: { cpu: 1 } };

/**
 * A cluster whose machines are processes of this one: a head and nodes, each with workers, a store, folders and an address
 * of its own. It ends with this process, however that ends.
 *
 * @example
 * await using cluster = await LocalCluster.start({ nodes: 2 });
 * await cluster.connect();
 * const [first] = cluster.nodes;
 * if (first) await cluster.kill(first);
 */
export class LocalCluster implements AsyncDisposable {
  /** The head's, `host:port`, or those of both heads: what programs and nodes join by. */
  readonly address: string;
  /** Without it nobody joins. */
  readonly token: string;
  /** The head's machine. It is not in {@link nodes}, and offers no resources without a `NodeSpec`. */
  readonly head: ClusterNode;
  /** Servers of the replicated state; none with `"sqlite"`. */
  readonly servers: readonly ClusterServer[];
  /** The machine of a second head, which stands by; only with `control: "nats"` or `"etcd"`. It runs nothing else. */
  readonly standby: ClusterNode | undefined;
  private readonly folder: string;
  private readonly hosts: Hosts;
  private readonly network: Network | undefined;
  private readonly links = new Links();
  private readonly headMember: Member;
  private readonly members: Member[] = [];
  private readonly contexts: Context[] = [];
  private readonly place: ReadonlyMap<Member, ControlPlace>;
  private readonly standbyMember: Member | undefined;
  private readonly stateServers: readonly StateServer[];
  private killed: Member;
  private driver: Member | undefined;
  private began = 0;
  private stopped: Promise<void> | undefined;

  /**
   * Resolves when all nodes have joined.
   *
   * @throws InvalidOptionError; what keeps a node or the head from starting.
   */
  static async start(options: LocalClusterOptions): Promise<LocalCluster> {
    const {
      nodes,
      control: kindOfControl = "sqlite",
      head = {},
      network: kind = "controlled",
      dashboard = false,
    } = options;
    if (typeof nodes === "number" && !(Number.isInteger(nodes) && nodes >= 0)) {
      throw new InvalidOptionError(
        `LocalCluster.start() option "nodes" is ${nodes}; it must be a whole number of at least 0, or a list`,
      );
    }
    const specs = typeof nodes === "number" ? Array.from({ length: nodes }, () => ONE_CPU) : nodes;
    const hosts = new Hosts();
    const folder = newFolder();
    let network: Network | undefined;
    try {
      if (kind === "controlled") network = await Network.open(folder);
      const parts = { folder: join(folder, HEAD), host: hosts.next(), network };
      const headMember = new Member({ name: head.name ?? "head", ...parts, hasDashboard: dashboard });
      const control = await beginHeads(kindOfControl, { folder, hosts, network, headMember });
      const cluster = new LocalCluster({ folder, hosts, network, headMember, ...control });
      try {
        await Promise.all([headMember.joinAsNode(cluster, head), ...specs.map((spec) => cluster.addNode(spec))]);
      } catch (error) {
        await cluster.stop();
        throw error;
      }
      return cluster;
    } catch (error) {
      await network?.close();
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  private constructor(parts: Beginning & Heads) {
    this.folder = parts.folder;
    this.hosts = parts.hosts;
    this.network = parts.network;
    this.headMember = parts.headMember;
    this.head = parts.headMember;
    this.killed = parts.headMember;
    this.address = parts.address;
    this.token = parts.token;
    this.place = parts.place;
    this.servers = parts.servers;
    this.stateServers = parts.servers;
    this.standbyMember = parts.standby;
    this.standby = parts.standby;
  }

  /** Where its state service answers over HTTP, to who has the {@link token}; undefined without the option `dashboard`. */
  get dashboardUrl(): string | undefined {
    return this.headMember.dashboardUrl;
  }

  /** In the order in which they were asked for; those that have ended are still there. */
  get nodes(): readonly ClusterNode[] {
    return this.members;
  }

  /** For programs that are to join: `MOBULA_ADDRESS` and `MOBULA_TOKEN`, and by which network. */
  get env(): { readonly MOBULA_ADDRESS: string; readonly MOBULA_TOKEN: string; readonly [name: string]: string } {
    const network = this.network && { [NETWORK_VARIABLE]: this.network.addressOf(DRIVER) };
    return { MOBULA_ADDRESS: this.address, MOBULA_TOKEN: this.token, ...network };
  }

  /** Starts another node; resolves when it has joined. @throws InvalidOptionError for a name that is taken. */
  async addNode(spec: NodeSpec): Promise<ClusterNode> {
    const name = spec.name ?? `node-${this.began + 1}`;
    if ([this.head, this.standby, ...this.nodes].some((node) => node?.name === name)) {
      throw new InvalidOptionError(`this cluster has a node "${name}" already; nodes need names of their own`);
    }
    const folder = join(this.folder, `n${++this.began}`);
    const member = new Member({ name, folder, host: this.hosts.next(), network: this.network });
    this.members.push(member);
    try {
      await member.joinAsNode(this, spec);
    } catch (error) {
      this.members.splice(this.members.indexOf(member), 1);
      throw error;
    }
    return member;
  }

  /**
   * Takes a node out of the cluster: nothing new begins there, what runs has until the deadline, then the node ends. Resolves
   * when its processes have, at most 5 s past the deadline.
   *
   * @throws ConnectionLostError when they have not by then, or control cannot be reached; NodeNotFoundError for one that is dead.
   */
  async drain(node: ClusterNode, { deadlineMs }: { readonly deadlineMs: number }): Promise<void> {
    const member = this.memberOf(node);
    await askHead(this, "drain-node", { node: member.id, deadlineMs });
    if (await member.ended(deadlineMs + DRAINED_MS)) return;
    throw new ConnectionLostError(`node "${node.name}" has not ended within ${deadlineMs + DRAINED_MS} ms`);
  }

  /**
   * Sends a signal to all processes of a machine, control included if it is the head's. Resolves when they have ended, or
   * stand still (`SIGSTOP`), or go on (`SIGCONT`).
   */
  async kill(node: ClusterNode | ClusterServer, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const server = this.stateServers.find((one) => one === node);
    await (server ?? this.memberOf(node as ClusterNode)).signal(signal);
  }

  /** Kills control, of two heads the one that leads, and nothing else; resolves when it is gone. */
  async killHead(): Promise<void> {
    this.killed = this.standbyMember ? await this.leading() : this.headMember;
    await this.killed.killControl();
  }

  /** Starts control again that was killed, at the same address; resolves when it serves, or stands by. */
  async restartHead(): Promise<void> {
    await this.killed.beginControl(this.place.get(this.killed));
  }

  private async leading(): Promise<Member> {
    const { leader } = await askHead(this, "heads", null);
    return this.standbyMember?.controlAddress === leader ? this.standbyMember : this.headMember;
  }

  /**
   * Cuts every link between the members of one list and those of the other: no byte passes, and no connection ends of it.
   * Members of one list still reach each other. What was cut before stays so.
   */
  partition(a: readonly ClusterMember[], b: readonly ClusterMember[]): void {
    const network = this.controlled("partition");
    this.links.partition(this.linksOf(a), this.linksOf(b));
    network.say({ t: "rules", rules: this.links.rules });
  }

  /** Lets everything between the two take so many milliseconds more, in each direction; 0 takes that back. */
  delay(a: ClusterMember | readonly ClusterMember[], b: ClusterMember | readonly ClusterMember[], ms: number): void {
    if (!(Number.isFinite(ms) && ms >= 0)) {
      throw new InvalidOptionError(`delay() was given ${ms}; it must be a number of milliseconds of at least 0`);
    }
    const network = this.controlled("delay");
    this.links.delay(this.linksOf([a].flat()), this.linksOf([b].flat()), ms);
    network.say({ t: "rules", rules: this.links.rules });
  }

  /** Ends all partitions and delays. */
  heal(): void {
    this.links.heal();
    this.network?.say({ t: "rules", rules: this.links.rules });
  }

  /**
   * Joins this process as a driver, as `init` does: by a node of its own that offers nothing, or by `node`, whose store it
   * then shares.
   */
  async connect(options: InitOptions & { readonly node?: ClusterNode } = {}): Promise<Context> {
    const { node, ...rest } = options;
    const place = node ? this.placeAt(this.memberOf(node)) : this.placeOfItsOwn();
    const context = await init({ ...rest, address: this.address, token: this.token, [PLACE]: place } as InitOptions);
    this.contexts.push(context);
    return context;
  }

  /** Ends the driver of this process, if it was connected here, and everything else. Leaves nothing behind. */
  stop(): Promise<void> {
    this.stopped ??= this.end();
    return this.stopped;
  }

  /** As {@link stop}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  private async end(): Promise<void> {
    // Who is cut off could say nothing at its end.
    if (this.network) this.heal();
    const heads = [this.headMember, ...(this.standbyMember ? [this.standbyMember] : [])];
    const all = [...heads, ...this.members, ...(this.driver ? [this.driver] : [])];
    for (const member of all) if (member.isStopped) await member.signal("SIGKILL");
    for (const context of this.contexts) await context[Symbol.asyncDispose]();
    await Promise.all(all.map((member) => member.stopNode()));
    for (const head of heads) await head.stopControl();
    // What their workers had started and nobody has ended.
    for (const member of all) await member.signal("SIGKILL");
    for (const server of this.stateServers) await server.signal("SIGKILL");
    await this.network?.close();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  private controlled(what: string): Network {
    if (this.network) return this.network;
    throw new InvalidOptionError(
      `${what}() needs a network that the kit controls; this cluster was started with network: "direct"`,
    );
  }

  private linksOf(members: readonly ClusterMember[]): string[] {
    return members.map((member) => {
      if (typeof member === "string") return member;
      return (this.stateServers.find((one) => one === member) ?? this.memberOf(member as ClusterNode)).link;
    });
  }

  private placeAt(member: Member): Place {
    const { standing } = member;
    if (!standing) throw new InvalidOptionError(`node "${member.name}" has not joined yet`);
    return { node: standing, ...(member.network !== undefined && { network: member.network }) };
  }

  private placeOfItsOwn(): Place {
    // The drivers of this process come one after the other, to one machine.
    this.driver ??= new Member({
      name: "driver",
      folder: join(this.folder, DRIVER),
      host: this.hosts.next(),
      network: this.network,
    });
    const { base, env, network } = this.driver;
    return { base, env, ...(network !== undefined && { network }) };
  }

  private memberOf(node: ClusterNode): Member {
    const standby = this.standbyMember ? [this.standbyMember] : [];
    const member = [this.headMember, ...standby, ...this.members].find((one) => one === node);
    if (!member) throw new InvalidOptionError(`node "${node.name}" is not of this cluster`);
    return member;
  }
}

interface Beginning {
  readonly folder: string;
  readonly hosts: Hosts;
  readonly network: Network | undefined;
  readonly headMember: Member;
}

interface Heads {
  readonly address: string;
  readonly token: string;
  readonly place: ReadonlyMap<Member, ControlPlace>;
  readonly standby: Member | undefined;
  readonly servers: readonly StateServer[];
}

async function beginHeads(control: "sqlite" | "nats" | "etcd", beginning: Beginning): Promise<Heads> {
  const { folder, hosts, network, headMember } = beginning;
  if (control === "sqlite") {
    const { address, token } = await headMember.beginControl();
    return { address, token, place: new Map(), standby: undefined, servers: [] };
  }
  const tokenFile = join(folder, "token");
  writeFileSync(tokenFile, `${randomBytes(32).toString("hex")}\n`, { mode: 0o600 });
  const servers = startStateServers(
    control,
    folder,
    Array.from({ length: STATE_SERVERS }, () => hosts.next()),
  );
  try {
    for (const { host, link } of servers) network?.say({ t: "member", host, name: link });
    const { hasDashboard } = headMember;
    const standby = new Member({
      name: STANDBY,
      folder: join(folder, STANDBY),
      host: hosts.next(),
      network,
      hasDashboard,
    });
    const placeOf = async ({ link }: Member): Promise<ControlPlace> => {
      const ways = servers.map(({ address }) => network?.way(link, address) ?? address);
      return { replicated: `${control}://${(await Promise.all(ways)).join(",")}/cluster`, tokenFile };
    };
    const place = new Map([
      [headMember, await placeOf(headMember)],
      [standby, await placeOf(standby)],
    ]);
    const first = await headMember.beginControl(place.get(headMember));
    const second = await standby.beginControl(place.get(standby));
    return { address: `${first.address},${second.address}`, token: first.token, place, standby, servers };
  } catch (error) {
    for (const server of servers) await server.signal("SIGKILL");
    throw error;
  }
}

function newFolder(): string {
  const parent = tmpdir();
  return mkdtempSync(join(parent.length <= FOLDER_CHARS_MAX ? parent : "/tmp", "mk-"));
}
