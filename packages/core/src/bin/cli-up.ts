/**
 * `mobula up` and `mobula down`: a cluster on machines that `ssh` reaches. The system's own client is used, so whatever
 * ~/.ssh/config says holds. The token goes by standard input: it is in no command line, here or there.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import type { Command } from "commander";
import { ConnectionLostError } from "../base/errors.ts";
import { print } from "./cli-print.ts";
import { type ClusterFile, type Machine, readClusterFile } from "./cluster-file.ts";

const TOKEN_BYTES = 32;
const CONNECT_SECONDS = 15;

export function addUp(program: Command): void {
  program
    .command("up <file>")
    .description(
      "begin the cluster that a file describes, on machines that ssh reaches; what runs already is left alone",
    )
    .addHelpText("after", "\nExample:\n  $ mobula up cluster.yaml")
    .action(async (file: string) => up(readClusterFile(file)));
  program
    .command("down <file>")
    .description("end that cluster: its nodes, then its head, with the state of the cluster")
    .addHelpText("after", "\nExample:\n  $ mobula down cluster.yaml")
    .action(async (file: string) => down(readClusterFile(file)));
}

interface Status {
  readonly running: boolean;
  readonly cluster?: string;
}

async function up(cluster: ClusterFile): Promise<void> {
  const { head, nodes } = cluster;
  const token = process.env.MOBULA_TOKEN || randomBytes(TOKEN_BYTES).toString("hex");
  const address = await upHead(cluster, token);
  const failed = await onEach(nodes, async (machine) => {
    const { running, cluster: joined } = await statusOf(cluster, machine);
    if (running && joined !== address)
      throw new Error(`a node runs there that is not of this cluster: ${joined ?? "none"}`);
    if (running) return "runs already";
    await remote(cluster, machine, ["start", "--address", address, ...machine.args], token);
    return "has joined";
  });
  if (failed > 0) throw new Error(`${failed} of ${nodes.length} machines have not joined; the others have`);
  print(`The cluster at ${address} is up: ${head.host} and ${nodes.length} more. Programs use it with:`);
  print(`  MOBULA_TOKEN=${token} MOBULA_ADDRESS=${address} node app.ts`);
}

/** @returns its address. */
async function upHead(cluster: ClusterFile, token: string): Promise<string> {
  const { head } = cluster;
  const status = await statusOf(cluster, head);
  if (status.running) {
    if (status.cluster === undefined)
      throw new Error(`${head.host} runs a node that is in no cluster; end it there first`);
    if (!process.env.MOBULA_TOKEN) {
      throw new Error(`the head at ${status.cluster} runs already: set MOBULA_TOKEN to its token to add machines`);
    }
    print(`${head.host}: runs already`);
    return status.cluster;
  }
  const begun = await remote(cluster, head, ["start", "--head", "--json", ...head.args], token);
  const { address } = JSON.parse(begun) as { readonly address: string }; // Written by `mobula start --json`.
  print(`${head.host}: the head listens at ${address}`);
  return address;
}

async function down(cluster: ClusterFile): Promise<void> {
  const { head, nodes } = cluster;
  const stop = async (machine: Machine): Promise<string> => {
    const { running } = await statusOf(cluster, machine);
    await remote(cluster, machine, ["stop"]);
    return running ? "has ended" : "nothing ran there";
  };
  const failed = (await onEach(nodes, stop)) + (await onEach([head], stop));
  if (failed > 0) throw new Error(`${failed} machines could not be told to end`);
}

/** On all at once; what becomes of each is printed. @returns how many failed. */
async function onEach(machines: readonly Machine[], act: (machine: Machine) => Promise<string>): Promise<number> {
  const outcomes = await Promise.allSettled(
    machines.map(async (machine) => {
      try {
        print(`${machine.host}: ${await act(machine)}`);
      } catch (error) {
        process.stderr.write(`${machine.host}: ${(error as Error).message}\n`);
        throw error;
      }
    }),
  );
  return outcomes.filter(({ status }) => status === "rejected").length;
}

/** A machine without a node answers with 3. */
async function statusOf(cluster: ClusterFile, machine: Machine): Promise<Status> {
  const text = await remote(cluster, machine, ["status", "--json"], undefined, [0, 3]);
  return JSON.parse(text) as Status; // Written by `mobula status --json`.
}

/** Runs `mobula` there. @returns what it prints. @throws ConnectionLostError with its words when it fails. */
function remote(
  { ssh, command, env }: ClusterFile,
  machine: Machine,
  args: readonly string[],
  token?: string,
  accepted: readonly number[] = [0],
): Promise<string> {
  const variables = Object.entries({ ...env, ...machine.env }).map(([name, value]) => `${name}=${quoted(value)}`);
  const call = [...(variables.length > 0 ? ["env", ...variables] : []), command, ...args.map(quoted)].join(" ");
  const script = token === undefined ? call : `IFS= read -r MOBULA_TOKEN && export MOBULA_TOKEN && ${call}`;
  const { user = ssh.user, port = ssh.port } = machine;
  const options = [
    "-T",
    ...["-o", "BatchMode=yes", "-o", `ConnectTimeout=${CONNECT_SECONDS}`],
    ...(user === undefined ? [] : ["-l", user]),
    ...(port === undefined ? [] : ["-p", String(port)]),
    ...(ssh.identity === undefined ? [] : ["-i", ssh.identity]),
    ...ssh.options.flatMap((option) => ["-o", option]),
  ];
  return new Promise((resolve, reject) => {
    const child = spawn("ssh", [...options, "--", machine.host, script], { stdio: ["pipe", "pipe", "pipe"] });
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      err += text;
    });
    child.stdin.on("error", () => {}); // It ended before it read the token; its exit code says why.
    child.stdin.end(token === undefined ? "" : `${token}\n`);
    child.once("error", (error) => reject(new ConnectionLostError(`ssh cannot be run: ${error.message}`)));
    child.once("close", (code, signal) => {
      if (code !== null && accepted.includes(code)) resolve(out);
      else reject(new ConnectionLostError(err.trim() || `ssh ended with ${signal ?? code}`));
    });
  });
}

/** One word of a shell, whatever is in it. */
const quoted = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
