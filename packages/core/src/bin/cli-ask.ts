/** Whom a command asks: the node of this machine, or the head that MOBULA_ADDRESS names. */
import { hostname, userInfo } from "node:os";
import { ConnectionLostError, type ErrorKind, errorFromCode } from "../base/errors.ts";
import { newProcessId, SPOKEN_VERSIONS } from "../base/mod.ts";
import { askHead, type HeadAddress } from "../head/mod.ts";
import {
  baseFolder,
  dashboardsIn,
  findStandingNode,
  type StandingNode,
  socketPathOf,
  tlsFilesFrom,
} from "../node/mod.ts";
import { connectUnix, type Peer, readTokens } from "../transport/mod.ts";
import type { AskedBy } from "../wire/audit.ts";
import type { Queries } from "../wire/queries.ts";

type AskedNode = Pick<StandingNode, "pid" | "nodeId" | "nodeSocket" | "token">;

export type Asks = <M extends keyof Queries>(method: M, params: Queries[M]["params"]) => Promise<Queries[M]["result"]>;

/** For the audit log: a head does not know who its tools are. */
export function byTool(program: string): { readonly by: AskedBy } {
  return { by: { program, pid: process.pid, host: hostname(), user: userName() } };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? "unknown"}`; // It has no name, as in many containers.
  }
}

const ANSWER_TIMEOUT_MS = 6_000;

interface Heard {
  readonly t: string;
  readonly result?: unknown;
  readonly code?: string;
  readonly kind?: string;
  readonly message?: string;
  readonly error?: { readonly code: string; readonly kind: ErrorKind; readonly message: string };
}

/** Undefined when the environment names no head. */
export function headOfEnvironment(environment = process.env): HeadAddress | undefined {
  const { MOBULA_ADDRESS: address = "", MOBULA_TOKEN, MOBULA_TOKEN_FILE } = environment;
  const token = MOBULA_TOKEN || (MOBULA_TOKEN_FILE && readTokens(MOBULA_TOKEN_FILE)[0]);
  return /:\d+$/.test(address) && token ? { address, token, tls: tlsFilesFrom({}, environment) } : undefined;
}

export const asksHead =
  (head: HeadAddress): Asks =>
  (method, params) =>
    askHead(head, method, params);

/** Joins as a tool and asks; ends with an error within a few seconds when there is no answer. */
export const asksNode =
  (node: AskedNode): Asks =>
  (method, params) =>
    new Promise((resolve, reject) => {
      let peer: Peer | undefined;
      const end = (error?: Error): void => {
        clearTimeout(timer);
        if (error) peer?.destroy();
        else peer?.close();
        if (error) reject(error);
      };
      const lost = (what: string) => new ConnectionLostError(`the node (pid ${node.pid}) ${what}`);
      const timer = setTimeout(() => end(lost("gave no answer within 6 s")), ANSWER_TIMEOUT_MS);
      const onMessage = (message: Heard): void => {
        if (message.t === "refused") end(lost(`refused the connection: ${message.message}`));
        else if (message.t === "welcome") peer?.send({ t: "query", id: 1, method, params });
        else if (message.t === "answer") {
          const { error } = message;
          end(error && errorFromCode(error.code, error.kind, error.message));
          // The node answers what it was asked.
          resolve(message.result as never);
        }
      };
      connectUnix(node.nodeSocket, { onMessage, onClose: () => end(lost("closed the connection")) }).then(
        (connected) => {
          peer = connected;
          peer.send({
            t: "hello",
            ...SPOKEN_VERSIONS,
            token: node.token,
            language: "js",
            role: "tool",
            processId: newProcessId(node.nodeId),
            pid: process.pid,
          });
        },
        (error: Error) => end(error),
      );
    });

/** The node of a program that runs here with one of its own; of several the newest. */
function findProgramNode(): AskedNode | undefined {
  const [found] = dashboardsIn(baseFolder()).filter(({ isEmbedded }) => isEmbedded);
  const { pid, nodeId } = found?.owner ?? {};
  if (!found || pid === undefined || nodeId === undefined) return undefined;
  return { pid, nodeId, nodeSocket: socketPathOf(found.sessionDir), token: readTokens(found.tokenFile)[0] };
}

/** Whom to ask, as commands are told. @throws when there is nobody. */
export function whom(address: string | undefined): Asks {
  const here = address === undefined ? findStandingNode() : undefined;
  if (here) return asksNode(here);
  const head = headOfEnvironment({ ...process.env, ...(address !== undefined && { MOBULA_ADDRESS: address }) });
  if (head) return asksHead(head);
  const program = address === undefined ? findProgramNode() : undefined;
  if (program) return asksNode(program);
  throw new Error(
    address === undefined
      ? "no node is running here; set MOBULA_ADDRESS and MOBULA_TOKEN to those of a cluster"
      : "--address is that of a head, host:port, and its token is to be in MOBULA_TOKEN or MOBULA_TOKEN_FILE",
  );
}
