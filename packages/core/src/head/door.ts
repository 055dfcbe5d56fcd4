/** Where a head listens: nodes, tools and standbys come in to the host that leads, or are told who does. */
import { AuthenticationError, type MobulaError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { NodeLog } from "../node/mod.ts";
import {
  type Access,
  listenPeers,
  NotLeadingError,
  type Peer,
  type PeerHandlers,
  SocketPeer,
  type TcpHello,
  type TcpListener,
} from "../transport/mod.ts";
import type { HeadIdentity } from "../wire/cluster-messages.ts";
import type { HeadConfig } from "./config.ts";
import type { Refusals } from "./refusals.ts";

export interface Host {
  readonly who: HeadIdentity;
  /** It leads and says nothing: replicated state takes nothing. */
  readonly isSuspended: boolean;
  node(peer: Peer, nodeId: NodeId): PeerHandlers;
  tool(peer: Peer): PeerHandlers;
  /** A head that stands by, reached there; here as long as the connection. */
  standby(peer: Peer, address: string): PeerHandlers;
  /** Nodes are told where the state service listens for them; undefined: nowhere. */
  stateServiceAt(address: string | undefined, url: string): void;
}

export interface DoorOptions {
  readonly config: HeadConfig;
  readonly log: NodeLog;
  readonly access: Access;
  readonly refusals: Refusals;
}

const NODE_ID = /^[0-9a-f]{32}$/;
export const STANDBY_ROLE = "standby";
const ROLES: ReadonlySet<string> = new Set(["node", "tool", STANDBY_ROLE]);

export class Door {
  private leadingHost: Host | undefined;
  private stateService: readonly [address: string | undefined, url: string] | undefined;
  /** Who does then. */
  leader: string | undefined;
  /** The leader, when it does not let this one stand by. */
  refusedBy: string | undefined;
  private listener: TcpListener | undefined;

  /** @throws ConnectionLostError when no port is free. */
  static async open({ config, log, access, refusals }: DoorOptions, host?: Host): Promise<Door> {
    const door = new Door();
    door.host = host;
    const { host: at, port, advertise } = config;
    door.listener = await listenPeers({
      host: at,
      port,
      advertise,
      tokens: access.tokens,
      tls: access.tls,
      get who() {
        return door.host?.who;
      },
      check: (hello) => {
        checkHello(hello);
        const { isSuspended } = door.leading();
        // Another may lead soon, and answer. A node that has a session keeps it: this one may lead again.
        if (isSuspended && !isResumed(hello)) throw new NotLeadingError(undefined);
      },
      // A session that is cut lives until its node is given up.
      accept: (peer, { who }) => ({ handlers: door.leading().node(peer, (who as { readonly nodeId: NodeId }).nodeId) }),
      acceptSocket: (socket, { role, who }) => {
        const { host } = door;
        if (!host) {
          socket.destroy();
          return;
        }
        const peer = new SocketPeer(socket, silent);
        peer.handlers =
          role === STANDBY_ROLE ? host.standby(peer, (who as { readonly address: string }).address) : host.tool(peer);
        socket.resume();
      },
      onRefused: (error, from) => {
        // Those that look for the leader do so again and again.
        if (error instanceof NotLeadingError) return;
        log.write("warn", `a connection from ${from} was refused: ${error.message}`);
        // A head that was started again knows no session, and who had one just joins.
        if (error.kind === "invalid") refusals.note(from, error.message);
      },
    });
    return door;
  }

  private constructor() {}

  /** Undefined while this head does not lead. */
  get host(): Host | undefined {
    return this.leadingHost;
  }

  set host(host: Host | undefined) {
    this.leadingHost = host;
    if (this.stateService) host?.stateServiceAt(...this.stateService);
  }

  stateServiceAt(address: string | undefined, url: string): void {
    this.stateService = [address, url];
    this.host?.stateServiceAt(address, url);
  }

  get address(): string {
    return this.listener?.address ?? "";
  }

  get port(): number {
    return this.listener?.port ?? 0;
  }

  async close(): Promise<void> {
    await this.listener?.close();
  }

  private leading(): Host {
    if (!this.host) throw new NotLeadingError(this.leader);
    return this.host;
  }
}

const isResumed = ({ session }: TcpHello): boolean =>
  (session as { readonly isNew?: unknown } | null | undefined)?.isNew === false;

function checkHello({ role, who, session }: TcpHello): void {
  const { nodeId, address } = (who ?? {}) as { readonly nodeId?: unknown; readonly address?: unknown };
  const problem: MobulaError | undefined = !ROLES.has(role)
    ? new AuthenticationError(`a head greets nodes, tools and standbys, not "${role}"`)
    : role === "node" && !(typeof nodeId === "string" && NODE_ID.test(nodeId))
      ? new AuthenticationError("hello of a node lacks a valid nodeId")
      : role === STANDBY_ROLE && !(typeof address === "string" && address.length <= 256)
        ? new AuthenticationError("hello of a standby lacks its address")
        : (role === "node") !== (session !== undefined && session !== null)
          ? new AuthenticationError("nodes begin a session with the head, and others none")
          : undefined;
  if (problem) throw problem;
}

const silent: PeerHandlers = { onMessage() {}, onClose() {} };
