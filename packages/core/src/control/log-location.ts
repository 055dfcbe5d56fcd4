/**
 * Where replicated state is kept, as one line:
 *
 *     nats://user:password@host:4222,host:4222,host:4222/cluster?replicas=3&monitor=http://host:8222
 *     etcd://host:2379,host:2379,host:2379/cluster?compact=false      etcds:// with TLS
 *
 * `ca`, `cert` and `key` name files for TLS. A user without a password is a token of NATS. The line may hold a secret, so
 * it belongs into the environment or a file, not among the arguments of a process. What is used of the clients is
 * loaded here: nobody else needs it.
 */
import { readFileSync } from "node:fs";
import { InvalidOptionError } from "../base/mod.ts";
import type { ReplicatedLog } from "./replicated-log.ts";

const LOCATION = /^(nats|etcds?):\/\/(?:([^@/?]*)@)?([^@/?]+)\/([\w-]{1,64})(?:\?(.*))?$/;
const KNOWN = {
  nats: ["replicas", "monitor", "bytes-max", "ca", "cert", "key"],
  etcd: ["compact", "ca", "cert", "key"],
};

/** Whether a text is such a line, or is meant to be one. */
export const isReplicated = (text: string): boolean => /^(nats|etcds?):\/\//.test(text);

export const hasSecrets = (location: string): boolean => /^\w+:\/\/[^/?]*@/.test(location);

/** For people. */
export const withoutSecrets = (location: string): string =>
  location.replace(/^(\w+:\/\/)[^/?]*@/, "$1").replace(/\?.*/, "");

/** @throws InvalidOptionError; what `openNatsLog` and `openEtcdLog` throw. */
export async function openReplicatedLog(location: string): Promise<ReplicatedLog> {
  const match = LOCATION.exec(location);
  if (match === null) {
    // Without the line itself, which may hold a password.
    throw new InvalidOptionError(
      "the location of replicated state is not of the form nats://host:port,host:port/cluster or etcd://host:port/cluster",
    );
  }
  const [, scheme = "", login = "", hosts = "", cluster = "", query = ""] = match;
  const kind = scheme === "nats" ? "nats" : "etcd";
  const settings = new URLSearchParams(query);
  for (const name of settings.keys()) {
    if (KNOWN[kind].includes(name)) continue;
    throw new InvalidOptionError(
      `replicated state in ${kind} has no setting "${name}"; it has ${KNOWN[kind].join(", ")}`,
    );
  }
  const servers = hosts.split(",");
  const [user = "", password] = login.split(":", 2).map(decodeURIComponent);
  if (kind === "nats") {
    const { openNatsLog } = await import("./log-nats.ts");
    const replicas = settings.get("replicas");
    const bytesMax = settings.get("bytes-max");
    const files = tlsFiles(settings);
    return openNatsLog({
      servers,
      cluster,
      monitors: settings.getAll("monitor"),
      ...(replicas === null ? {} : { replicas: Number(replicas) }),
      ...(bytesMax === null ? {} : { bytesMax: Number(bytesMax) }),
      connection: {
        ...(user === "" ? {} : password === undefined ? { token: user } : { user, pass: password }),
        ...(files === undefined ? {} : { tls: files }),
      },
    });
  }
  const { openEtcdLog } = await import("./log-etcd.ts");
  const tls = tlsFiles(settings);
  return openEtcdLog({
    servers: servers.map((server) => `${scheme === "etcds" ? "https" : "http"}://${server}`),
    cluster,
    compact: settings.get("compact") !== "false",
    ...(user === "" ? {} : { user, password: password ?? "" }),
    ...(tls === undefined ? {} : { tls }),
  });
}

function tlsFiles(settings: URLSearchParams): { ca?: string; cert?: string; key?: string } | undefined {
  const named = ["ca", "cert", "key"].filter((name) => settings.has(name));
  if (named.length === 0) return undefined;
  return Object.fromEntries(named.map((name) => [name, readFileSync(settings.get(name) ?? "", "utf8")]));
}
