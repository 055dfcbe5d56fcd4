/** Who may join a cluster and listen in, with real processes: tokens, certificates, and both exchanged while it runs. */
import { copyFileSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { readAddressFile, type StandingNode, workersOf } from "../../src/node/mod.ts";
import { TestCertificates } from "../../src/transport/test-certificates.ts";
import { eventually } from "../eventually.ts";
import { Program } from "../failures/programs.ts";
import { Machines, SMALL } from "./machines.ts";

let machines: Machines | undefined;
const made: Machines[] = [];
const programs: Program[] = [];
afterEach(async () => {
  for (const program of programs.splice(0)) program.kill();
  for (const one of made.splice(0)) await one.remove();
});

function cluster(count: number): Machines {
  machines = new Machines(count);
  made.push(machines);
  return machines;
}

function program(of: Machines, at: number, env: Readonly<Record<string, string>>, tasks = "1"): Program {
  const one = new Program("../../cluster/fixtures/spread.ts", tasks, { folder: of.folder(at), env, args: ["50"] });
  programs.push(one);
  return one;
}

/** Tasks that are more than one node takes run on both. */
async function runsOnBoth(of: Machines): Promise<void> {
  const ran = await program(of, 0, { MOBULA_ADDRESS: "auto" }, "20").line<Record<string, number>>("ran");
  expect(Object.keys(ran).sort()).toEqual(["m0", "m1"]);
}

const headOf = (of: Machines): StandingNode => {
  const file = join(of.folder(0), `mobula-${process.getuid?.()}`, "standing-head.json");
  return readAddressFile(file) as StandingNode;
};
const processesOf = (of: Machines, at: number): number[] => {
  const { pid, sessionDir } = of.standing(at);
  return [pid, ...workersOf(sessionDir), ...(at === 0 ? [headOf(of).pid] : [])];
};

describe("tokens", () => {
  test("are in no process' arguments, no environment of tasks and no log", async () => {
    const of = cluster(2);
    await of.begin({ MOBULA_LOG: "debug" });
    await of.join(1, { MOBULA_TOKEN: of.token, MOBULA_LOG: "debug" });
    await runsOnBoth(of);
    expect(of.token).toMatch(/^[0-9a-f]{64}$/);
    const commands = readdirSync("/proc").flatMap((pid) => (/^\d+$/.test(pid) ? ofProcess(pid, "cmdline") : []));
    expect(commands.some((command) => command.includes("src/bin/worker.ts"))).toBe(true);
    expect(commands.filter((command) => command.includes(of.token))).toEqual([]);
    for (const at of [0, 1]) {
      for (const pid of processesOf(of, at)) {
        expect(ofProcess(pid, "environ").join()).not.toContain(of.token);
      }
    }
    let bytes = 0;
    for (const dir of [of.standing(0).sessionDir, of.standing(1).sessionDir, headOf(of).sessionDir]) {
      for (const name of readdirSync(join(dir, "logs"))) {
        const text = readFileSync(join(dir, "logs", name), "utf8");
        bytes += text.length;
        expect(text).not.toContain(of.token);
      }
    }
    expect(bytes).toBeGreaterThan(100);
  });

  test("are exchanged while the cluster runs: first added, then used, then the old one removed", async () => {
    const [old, young] = ["an-old-token-of-the-cluster", "a-young-token-of-the-cluster"];
    const of = cluster(3);
    const file = (at: number): string => join(of.folder(at), "tokens");
    const write = (at: number, ...tokens: string[]): void => writeFileSync(file(at), `${tokens.join("\n")}\n`);
    for (const at of [0, 1]) write(at, old);
    write(2, young);
    await of.begin({}, "--token-file", file(0));
    await of.join(1, {}, "--token-file", file(1));
    await expect(of.join(2, {}, "--token-file", file(2))).rejects.toThrow(/the token is wrong/);
    for (const tokens of [
      [old, young],
      [young, old],
    ]) {
      for (const at of [0, 1]) write(at, ...tokens);
      await runsOnBoth(of);
    }
    await of.join(2, {}, "--token-file", file(2));
    for (const at of [0, 1]) write(at, young);
    // Its nodes find the new head by new connections.
    process.kill(headOf(of).pid, "SIGKILL");
    await of.mobula(0, {}, "start", "--head", "--host", "127.0.0.1", "--token-file", file(0));
    await of.untilNodes((nodes) => Object.values(nodes).filter((state) => state === "alive").length === 3);
    await of.mobula(2, {}, "stop");
    await expect(of.join(2, { MOBULA_TOKEN: old })).rejects.toThrow(/the token is wrong/);
    await runsOnBoth(of);
  });

  test("a driver without one is refused at once, and one with a wrong one", async () => {
    const of = cluster(2);
    await of.begin({});
    const address = { MOBULA_ADDRESS: of.address };
    const without = program(of, 1, address);
    expect(await without.line("refused")).toEqual(["AUTHENTICATION", expect.stringMatching(/set MOBULA_TOKEN/)]);
    const wrong = program(of, 1, { ...address, MOBULA_TOKEN: "x".repeat(64) });
    expect(await wrong.line("refused")).toEqual(["AUTHENTICATION", expect.stringMatching(/the token is wrong/)]);
    const file = join(of.folder(1), "tokens");
    writeFileSync(file, `${of.token}\n`);
    await program(of, 1, { ...address, MOBULA_TOKEN_FILE: file }).line("ran");
    await program(of, 1, { ...address, MOBULA_TOKEN: of.token }).line("ran");
  });
});

describe("certificates", () => {
  const certificates = new TestCertificates();
  beforeAll(() => {
    for (const authority of ["first", "second", "stranger"]) certificates.makeAuthority(authority);
    for (const [name, authority] of [
      ["a", "first"],
      ["b", "second"],
      ["intruder", "stranger"],
    ] as const) {
      certificates.make(name, authority);
    }
    certificates.join("both", "first", "second");
  });
  afterAll(() => certificates.remove());

  const use = (folder: string, name: string, authority: string): Record<string, string> => {
    const files = { cert: `${name}.pem`, key: `${name}.key`, ca: `${authority}.pem` };
    for (const [as, file] of Object.entries(files)) copyFileSync(certificates.file(file), join(folder, as));
    return {
      MOBULA_TLS_CERT: join(folder, "cert"),
      MOBULA_TLS_KEY: join(folder, "key"),
      MOBULA_TLS_CA: join(folder, "ca"),
    };
  };
  const flags = ({ MOBULA_TLS_CERT = "", MOBULA_TLS_KEY = "", MOBULA_TLS_CA = "" }: Record<string, string>) => [
    ...["--tls-cert", MOBULA_TLS_CERT, "--tls-key", MOBULA_TLS_KEY, "--tls-ca", MOBULA_TLS_CA],
  ];

  test("with an authority, nobody joins without a certificate of it, whatever the token", async () => {
    const of = cluster(5);
    await of.begin({}, ...flags(use(of.folder(0), "a", "first")));
    const token = { MOBULA_TOKEN: of.token };
    await of.join(1, token, ...flags(use(of.folder(1), "a", "first")));
    await runsOnBoth(of);
    const address = { MOBULA_ADDRESS: of.address, ...token };
    // Each tries for ten seconds.
    const intruder = of.join(3, token, ...flags(use(of.folder(3), "intruder", "first")));
    const plain = program(of, 4, address);
    await Promise.all([
      expect(of.join(2, token)).rejects.toThrow(),
      expect(intruder).rejects.toThrow(/a certificate that its authority has signed/),
      plain.line<string[]>("refused").then((refused) => expect(refused).toContain("CONNECTION_LOST")),
    ]);
    const startedAt = performance.now();
    const suspicious = of.join(2, token, ...flags(use(of.folder(2), "b", "second")));
    await expect(suspicious).rejects.toThrow(/cannot connect to .*certificate/);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    await program(of, 2, { ...address, ...use(of.folder(2), "a", "first") }).line("ran");
  });

  test("without an authority, TLS keeps others from listening in, and the token proves who is there", async () => {
    const of = cluster(2);
    const own = ({ MOBULA_TLS_CERT = "", MOBULA_TLS_KEY = "" }) => [
      "--tls-cert",
      MOBULA_TLS_CERT,
      "--tls-key",
      MOBULA_TLS_KEY,
    ];
    await of.begin({}, ...own(use(of.folder(0), "a", "first")));
    await of.join(1, { MOBULA_TOKEN: of.token }, ...own(use(of.folder(1), "intruder", "first")));
    await runsOnBoth(of);
  });

  test("are exchanged while the cluster runs, and so is the authority", async () => {
    const of = cluster(2);
    for (const at of [0, 1]) use(of.folder(at), "a", "first");
    await of.begin({}, ...flags(use(of.folder(0), "a", "first")));
    const join = (name: string, authority: string) =>
      of.join(1, { MOBULA_TOKEN: of.token }, ...flags(use(of.folder(1), name, authority)));
    await expect(join("b", "both")).rejects.toThrow(/a certificate that its authority has signed/);
    use(of.folder(0), "a", "both");
    await join("b", "both");
    await runsOnBoth(of);
    for (const at of [0, 1]) use(of.folder(at), "b", "second");
    await runsOnBoth(of);
    await of.mobula(1, {}, "stop");
    await expect(join("a", "both")).rejects.toThrow(/a certificate that its authority has signed/);
  });
});

describe("addresses", () => {
  test("a cluster may be on IPv6", async () => {
    const of = cluster(2);
    await of.begin({}, "--host", "::1");
    expect(of.address).toMatch(/^\[::1\]:\d+$/);
    await of.join(1, { MOBULA_TOKEN: of.token });
    await runsOnBoth(of);
    // The worker of the program that has ended may have made room for another, which has yet to begin.
    await eventually(() => listeningOf(of, 1).length > 1, "a node and a worker that listen");
    await program(of, 1, { MOBULA_ADDRESS: of.address, MOBULA_TOKEN: of.token }).line("ran");
  });

  test("node and workers listen on the ports that they are given, and are reached where they say", async () => {
    const of = cluster(2);
    await of.begin({});
    const ports = ["--ports", "23500-23540", "--host", "0.0.0.0", "--advertise", "127.0.0.77"];
    await of.join(1, { MOBULA_TOKEN: of.token }, ...ports);
    await runsOnBoth(of);
    await eventually(() => listeningOf(of, 1).length > 1, "a node and a worker that listen");
    const listening = listeningOf(of, 1);
    for (const port of listening) expect(port >= 23_500 && port <= 23_540).toBe(true);
    const at77 = readFileSync("/proc/net/tcp", "utf8").match(/4D00007F:(\w{4}) \w+:\w{4} 01/g) ?? [];
    expect(at77.length).toBeGreaterThan(0);
  });

  test("options that do not fit together are refused", async () => {
    const of = cluster(1);
    await expect(of.mobula(0, {}, "start", "--tls-cert", "x", ...SMALL)).rejects.toThrow(/give --head or --address/);
    await expect(of.mobula(0, {}, "start", "--address", "x:1", ...SMALL)).rejects.toThrow(
      /cannot connect|MOBULA_TOKEN/,
    );
    const missing = of.mobula(0, {}, "start", "--head", "--token-file", "/nowhere", ...SMALL);
    await expect(missing).rejects.toThrow(/the file of tokens cannot be read/);
  });
});

/** Nothing of one that has ended. */
function ofProcess(pid: number | string, file: "cmdline" | "environ"): string[] {
  try {
    return [readFileSync(`/proc/${pid}/${file}`, "utf8")];
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
    throw error;
  }
}

/** The TCP ports on which a node and its workers listen. */
function listeningOf(of: Machines, at: number): number[] {
  const inodes = new Set<string>();
  for (const pid of processesOf(of, at)) {
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`)) ?? [];
      if (inode !== undefined) inodes.add(inode);
    }
  }
  const sockets = ["tcp", "tcp6"].flatMap((name) => readFileSync(`/proc/net/${name}`, "utf8").split("\n").slice(1));
  return sockets.flatMap((line) => {
    const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
    return state === "0A" && inodes.has(inode) ? [Number.parseInt(local.split(":")[1] ?? "", 16)] : [];
  });
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}
