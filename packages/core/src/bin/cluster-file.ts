/** `cluster.yaml`: which machines a cluster has. Everything unknown or wrong is refused by name. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { parse } from "yaml";
import { InvalidOptionError } from "../base/errors.ts";

export interface Machine {
  readonly host: string;
  readonly user?: string | undefined;
  readonly port?: number | undefined;
  /** Of `mobula start` there. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface ClusterFile {
  readonly ssh: {
    readonly user?: string | undefined;
    readonly port?: number | undefined;
    readonly identity?: string | undefined;
    /** As `ssh -o` takes them. */
    readonly options: readonly string[];
  };
  /** How `mobula` is called there, as the shell there understands it. */
  readonly command: string;
  readonly env: Readonly<Record<string, string>>;
  readonly head: Machine;
  readonly nodes: readonly Machine[];
}

type Fields = Readonly<Record<string, unknown>>;

/** @throws InvalidOptionError that names the file, and in it what is wrong. */
export function readClusterFile(path: string): ClusterFile {
  try {
    return parseClusterFile(readFileSync(path, "utf8"));
  } catch (error) {
    throw new InvalidOptionError(`${path}: ${(error as Error).message}`, { cause: error });
  }
}

export function parseClusterFile(text: string): ClusterFile {
  const file = fieldsOf(parse(text), "the file", ["ssh", "command", "env", "head", "nodes"]);
  const ssh = fieldsOf(file.ssh ?? {}, "ssh", ["user", "port", "identity", "options"]);
  const nodes = listOf(file.nodes ?? [], "nodes");
  return {
    ssh: {
      user: optional(ssh.user, "ssh.user", textOf),
      port: optional(ssh.port, "ssh.port", portOf),
      identity: optional(ssh.identity, "ssh.identity", textOf)?.replace(/^~(?=\/)/, homedir()),
      options: listOf(ssh.options ?? [], "ssh.options").map((option, at) => textOf(option, `ssh.options[${at}]`)),
    },
    command: textOf(file.command ?? "mobula", "command"),
    env: variablesOf(file.env ?? {}, "env"),
    head: machineOf(file.head, "head"),
    nodes: nodes.map((node, at) => machineOf(node, `nodes[${at}]`)),
  };
}

/** A host alone, or one with what is special about it. */
function machineOf(value: unknown, where: string): Machine {
  if (typeof value === "string") return { host: hostOf(value, where), args: [], env: {} };
  if (value === undefined || value === null) throw new InvalidOptionError(`${where} is missing`);
  const machine = fieldsOf(value, where, ["host", "user", "port", "args", "env"]);
  return {
    host: hostOf(machine.host, `${where}.host`),
    user: optional(machine.user, `${where}.user`, textOf),
    port: optional(machine.port, `${where}.port`, portOf),
    args: listOf(machine.args ?? [], `${where}.args`).map((arg, at) =>
      typeof arg === "number" ? String(arg) : textOf(arg, `${where}.args[${at}]`),
    ),
    env: variablesOf(machine.env ?? {}, `${where}.env`),
  };
}

function refuse(where: string, value: unknown, allowed: string): never {
  throw new InvalidOptionError(`${where} is ${JSON.stringify(value)}; it must be ${allowed}`);
}

function fieldsOf(value: unknown, where: string, known: readonly string[]): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) refuse(where, value, "a mapping");
  for (const name of Object.keys(value)) {
    if (!known.includes(name)) {
      throw new InvalidOptionError(`${where} has an unknown key "${name}"; there are ${known.join(", ")}`);
    }
  }
  return value as Fields;
}

const optional = <T>(value: unknown, where: string, read: (value: unknown, where: string) => T): T | undefined =>
  value === undefined || value === null ? undefined : read(value, where);

const listOf = (value: unknown, where: string): readonly unknown[] =>
  Array.isArray(value) ? value : refuse(where, value, "a list");

const textOf = (value: unknown, where: string): string =>
  typeof value === "string" && value !== "" ? value : refuse(where, value, "a text");

/** What begins with a dash would be an option of ssh. */
function hostOf(value: unknown, where: string): string {
  const host = textOf(value, where);
  return /^[\w[][\w.:%@\]-]*$/.test(host) ? host : refuse(where, value, "the name or address of a machine");
}

const portOf = (value: unknown, where: string): number =>
  Number.isInteger(value) && (value as number) > 0 && (value as number) < 65_536
    ? (value as number)
    : refuse(where, value, "a port");

function variablesOf(value: unknown, where: string): Record<string, string> {
  const fields = fieldsOf(value, where, Object.keys((value ?? {}) as object));
  return Object.fromEntries(
    Object.entries(fields).map(([name, text]) => {
      if (!/^[A-Za-z_]\w*$/.test(name))
        throw new InvalidOptionError(`${where} has a name that no variable can have: ${name}`);
      if (name === "MOBULA_TOKEN") {
        throw new InvalidOptionError(
          `${where} holds the token; set MOBULA_TOKEN where you call mobula, it is passed on unseen`,
        );
      }
      return [name, typeof text === "number" ? String(text) : textOf(text, `${where}.${name}`)];
    }),
  );
}
