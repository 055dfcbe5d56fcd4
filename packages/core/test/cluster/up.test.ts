/** `mobula up` and `mobula down` over a real sshd on this machine, which stands for all machines of the cluster. */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
const run = promisify(execFile);

/** It must be started by its whole path. */
const sshd = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"]
  .map((folder) => join(folder, "sshd"))
  .find((path) => existsSync(path));

describe.skipIf(sshd === undefined)("on machines that ssh reaches (needs sshd: Debian's openssh-server)", () => {
  let folder = "";
  let file = "";
  let daemon: ChildProcess | undefined;
  const machines = ["head", "one", "two"];

  beforeAll(async () => {
    folder = mkdtempSync("/tmp/mu-");
    for (const name of machines) mkdirSync(join(folder, name));
    const port = await freePort();
    for (const key of ["host", "user"])
      execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, key)]);
    const config = [
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${join(folder, "host")}`,
      `AuthorizedKeysFile ${join(folder, "user.pub")}`,
      "PidFile none",
      "StrictModes no",
      "UsePAM no",
      "PasswordAuthentication no",
      "PermitRootLogin prohibit-password",
    ];
    writeFileSync(join(folder, "sshd_config"), `${config.join("\n")}\n`);
    // As root it wants this folder, which its service would make.
    if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true });
    daemon = spawn(sshd ?? "", ["-D", "-e", "-f", join(folder, "sshd_config")], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let told = "";
    daemon.stderr?.setEncoding("utf8").on("data", (text: string) => {
      told += text;
    });
    await eventually(() => told.includes("Server listening"), `sshd listens: ${told}`);
    file = join(folder, "cluster.yaml");
    const machine = (name: string, ...args: string[]) => ({
      host: "127.0.0.1",
      args: ["--name", name, "--cpus", "1", "--object-store", "16MiB", ...args],
      env: { TMPDIR: join(folder, name), XDG_STATE_HOME: join(folder, name, "state") },
    });
    // What JSON can say, YAML can.
    const cluster = {
      ssh: {
        port,
        identity: join(folder, "user"),
        options: [
          "IdentitiesOnly=yes",
          "StrictHostKeyChecking=accept-new",
          `UserKnownHostsFile=${join(folder, "known")}`,
        ],
      },
      command: `${process.execPath} ${cli}`,
      env: { NODE_OPTIONS: "--conditions=mobula-source" },
      head: machine("head", "--host", "127.0.0.1", "--port", "0"),
      nodes: [machine("one", "--label", "name=it's"), machine("two")],
    };
    writeFileSync(file, JSON.stringify(cluster));
  });
  afterAll(async () => {
    await run(process.execPath, [cli, "down", file]).catch(() => {});
    if (daemon && daemon.exitCode === null) {
      daemon.kill();
      await once(daemon, "exit");
    }
    rmSync(folder, { recursive: true, force: true });
  });

  const mobula = async (env: object, ...args: string[]): Promise<string> =>
    (await run(process.execPath, [cli, ...args], { env: { ...process.env, TMPDIR: folder, ...env } })).stdout;

  test("a cluster comes up, is added to, and goes down; nothing of it is left", async () => {
    const told = await mobula({}, "up", file);
    const [, MOBULA_TOKEN = "", MOBULA_ADDRESS = ""] = /MOBULA_TOKEN=(\w+) MOBULA_ADDRESS=(\S+) node/.exec(told) ?? [];
    expect(told).toMatch(/^127\.0\.0\.1: the head listens at 127\.0\.0\.1:\d+$/m);
    expect(told.match(/^127\.0\.0\.1: has joined$/gm)).toHaveLength(2);
    const env = { MOBULA_TOKEN, MOBULA_ADDRESS };
    const status = await mobula(env, "status");
    expect(status).toContain("3 nodes alive");
    expect(status).toMatch(/^one +alive.*name=it's$/m);
    // In no command line is the token, and what runs already is left alone.
    expect(execFileSync("ps", ["-eo", "args"], { encoding: "utf8" })).not.toContain(MOBULA_TOKEN);
    await expect(mobula({}, "up", file)).rejects.toThrow(/runs already: set MOBULA_TOKEN to its token to add machines/);
    await mobula({ TMPDIR: join(folder, "two") }, "stop");
    const again = await mobula(env, "up", file);
    expect(again.match(/: runs already$/gm)).toHaveLength(2);
    expect(again.match(/: has joined$/gm)).toHaveLength(1);
    expect((await mobula({}, "down", file)).match(/: has ended$/gm)).toHaveLength(3);
    for (const name of machines) {
      const left = readdirSync(join(folder, name, `mobula-${process.getuid?.()}`));
      expect(left).toEqual([]);
    }
    await expect(mobula(env, "status")).rejects.toThrow(/cannot connect/);
  });

  test("a machine that does not let us in is named, and the exit code says so", async () => {
    const other = join(folder, "other.yaml");
    writeFileSync(other, `head: 127.0.0.1\nssh: { port: ${await freePort()}, options: [BatchMode=yes] }\n`);
    await expect(mobula({}, "up", other)).rejects.toThrow(/Connection refused/);
    await expect(mobula({}, "up", join(folder, "none.yaml"))).rejects.toThrow(/none\.yaml: .*no such file/);
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (typeof address !== "object" || !address) throw new Error("it has no port");
  return address.port;
}
