/** What `mobula start` is told of the cluster that it begins or joins. */

import { networkInterfaces } from "node:os";
import { resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { hasSecrets, isReplicated } from "../control/mod.ts";
import {
  beginStandingHead,
  defaultStateFolder,
  type HeadOptions,
  replicatedStateFolder,
  type StandingHead,
} from "../head/mod.ts";
import { type ClusterOptions, localAddressOf, localAddressTowards, type Started, tlsFilesFrom } from "../node/mod.ts";
import { machineAddress, parseAdvertised } from "../transport/mod.ts";
import { label, port } from "./cli-options.ts";

export interface ClusterChoice {
  readonly head?: true;
  readonly address?: string;
  readonly host?: string;
  readonly port?: string;
  readonly advertise?: string;
  readonly state?: string;
  readonly label?: Readonly<Record<string, string>>;
  readonly ports?: string;
  readonly headHealthPort?: number;
  readonly tokenFile?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly tlsServerName?: string;
}

export const withClusterOptions = (command: Command): Command =>
  command
    .option("--head", "begin a cluster here (or go on with the one of --state), or")
    .option("--address <host:port>", "join the cluster whose head listens there; of several heads a list, with commas")
    .option(
      "--token-file <file>",
      "the cluster's tokens, one a line (default: MOBULA_TOKEN; of a head, in --state)",
      path,
    )
    .option(
      "--host <address>",
      "where to listen (default: everywhere with --head, else the address that leads to the head)",
    )
    .option("--port <n>", "with --head: a port, or a range such as 6380-6390 (default: 6380)")
    .option("--ports <range>", "in a cluster: ports of the node and its workers, e.g. 20000-20100 (default: any)")
    .option("--advertise <host>", "in a cluster: where others reach what listens here, if not at --host")
    .option(
      "--state <folder or servers>",
      "with --head: where the cluster's state is kept; nats://a:4222,b:4222,c:4222/cluster or etcd://… for several heads, of which one leads (with a login only as MOBULA_STATE)",
      stateOption,
    )
    .option("--head-health-port <n>", "with --head: answer /healthz and /readyz of the head there", port)
    .option("--label <key=value>", "a label of this node in its cluster; may be repeated", label)
    .option(
      "--tls-cert <file>",
      "in a cluster: TLS with this certificate (PEM); all of a cluster use TLS, or none",
      path,
    )
    .option("--tls-key <file>", "its key", path)
    .option("--tls-ca <file>", "demand certificates of all others that these have signed", path)
    .option("--tls-server-name <name>", "the name in the certificates of the others, if not the host that is dialled");

export interface ChosenCluster {
  readonly node: ClusterOptions;
  /** Of a cluster that begins here. */
  readonly head?: {
    /** With which others join. */
    readonly token: string;
    readonly begun: Promise<Started<StandingHead>>;
  };
}

/** All addresses of this machine, of both families where it has both. */
const everywhere = (): "0.0.0.0" | "::" => {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return addresses.some(({ family }) => family === "IPv6") ? "::" : "0.0.0.0";
};

/** Begins the cluster, if it is to begin here. Undefined: the node is none of a cluster. */
export async function clusterOf(
  choice: ClusterChoice,
  life: Partial<Pick<HeadOptions, "driverPid" | "onStderr" | "dashboard">>,
): Promise<ChosenCluster | undefined> {
  const { head, address, host, advertise, port, ports = 0, state, headHealthPort, label: labels = {} } = choice;
  if (head && address !== undefined) throw new Error("--head begins a cluster and --address joins one: choose");
  if (!head && (port ?? state ?? headHealthPort) !== undefined) {
    throw new Error("--port, --state and --head-health-port are for --head");
  }
  if (!head && address === undefined) {
    if ((host ?? advertise ?? choice.tokenFile ?? choice.tlsCert) === undefined) return undefined;
    throw new Error("--host, --advertise, --token-file and --tls-cert are for a cluster: give --head or --address too");
  }
  const tls = tlsFilesFrom(
    {
      ...(choice.tlsCert !== undefined && { cert: choice.tlsCert }),
      ...(choice.tlsKey !== undefined && { key: choice.tlsKey }),
      ...(choice.tlsCa !== undefined && { ca: choice.tlsCa }),
      ...(choice.tlsServerName !== undefined && { serverName: choice.tlsServerName }),
    },
    process.env,
  );
  const more = { ...(advertise !== undefined && { advertise }), ...(tls && { tls }) };
  if (!head && address !== undefined) {
    const node = { address, labels, ports, host: host ?? (await localAddressTowards(address)), ...more };
    return { node: { ...node, ...credential(choice.tokenFile) } };
  }
  // Its node starts while it does.
  const here =
    host ??
    (advertise === undefined ? machineAddress(everywhere()) : await localAddressOf(parseAdvertised(advertise, 0).host));
  const { token, tokenFile, begun } = beginStandingHead({
    ...life,
    ...placeOf(state),
    ...(choice.tokenFile !== undefined && { tokenFile: choice.tokenFile }),
    host: host ?? everywhere(),
    ...(headHealthPort !== undefined && { healthPort: headHealthPort }),
    ...(port !== undefined && { port }),
    ...more,
  });
  const begunAt = begun.then((one) => one.address);
  return { node: { address: begunAt, labels, ports, host: here, tokenFile, ...more }, head: { token, begun } };
}

/** A login must not be seen in the list of processes, nor by what is started from here. */
function placeOf(given: string | undefined): Pick<HeadOptions, "stateDir" | "replicated"> {
  const state = given ?? (process.env.MOBULA_STATE || undefined);
  delete process.env.MOBULA_STATE;
  if (state === undefined) return { stateDir: defaultStateFolder() };
  return isReplicated(state) ? { stateDir: replicatedStateFolder(), replicated: state } : { stateDir: path(state) };
}

export function stateOption(text: string): string {
  if (!isReplicated(text)) return path(text);
  if (hasSecrets(text)) {
    throw new InvalidArgumentError("It holds a login, which others could see here: give it as MOBULA_STATE.");
  }
  return text;
}

function credential(tokenFile: string | undefined): { tokenFile: string } | { token: string } {
  if (tokenFile !== undefined) return { tokenFile };
  const { MOBULA_TOKEN: token } = process.env;
  if (token) return { token };
  throw new Error(
    "MOBULA_TOKEN is not set, and there is no --token-file: `mobula start --head` printed the token, its state folder keeps it",
  );
}

/** A standing node runs in the root folder. */
const path = (text: string): string => resolve(text);
