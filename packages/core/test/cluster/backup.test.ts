/** `mobula backup` and `mobula restore`: a cluster that was lost with its state goes on with what a backup holds. */
import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  get,
  getActor,
  getPlacementGroup,
  init,
  isInitialized,
  placementGroup,
  remote,
  shutdown,
} from "../../src/api/mod.ts";
import { etcdServer, natsServer, startEtcd, startNats, type TestServers } from "../../src/control/fixtures/servers.ts";
import { eventually } from "../eventually.ts";
import { Machines } from "./machines.ts";

class Counter {
  private count = 0;
  add(): number {
    return ++this.count;
  }
}
const counters = remote(Counter);
const detached = (name: string) =>
  counters.options({ name, lifetime: "detached", maxRestarts: 1, numCpus: 0 }).remote();
const TWO = ["--cpus", "2"];
const TOKEN = "0123456789abcdef0123456789abcdef";

let machines: Machines;
let servers: TestServers | undefined;
let file = "";
beforeEach(() => {
  machines = new Machines(2);
  file = join(machines.folder(1), "cluster.backup");
});
afterEach(async () => {
  if (isInitialized()) await shutdown();
  await machines.remove();
  await servers?.stop();
  servers = undefined;
});

/** Joins the cluster as a program does. */
const joined = (): Promise<unknown> => init({ address: machines.address, token: machines.token, namespace: "ops" });

async function everythingDies(): Promise<void> {
  if (isInitialized()) await shutdown();
  for (const at of [0, 1]) for (const pid of machines.pids(at)) process.kill(pid, "SIGKILL");
  await eventually(() => [0, 1].every((at) => machines.pids(at).length === 0), "all processes have ended");
}

/** Things that outlive the program that made them. */
async function fill(): Promise<void> {
  await joined();
  expect(await get(detached("visits").add.remote())).toBe(1);
  await get(placementGroup([{ cpu: 1 }, { cpu: 1 }], { name: "gang", lifetime: "detached" }).ready());
  await shutdown();
}

async function allIsThere(): Promise<void> {
  await joined();
  const visits = await getActor<Counter>("visits");
  // It was made again.
  expect(await get(visits.add.remote())).toBe(1);
  await expect(get(detached("visits").add.remote())).rejects.toMatchObject({ code: "NAME_TAKEN" });
  await get((await getPlacementGroup("gang")).ready());
  await shutdown();
}

const kinds = {
  "a file": undefined,
  NATS: natsServer === undefined ? undefined : { scheme: "nats", start: startNats },
  etcd: etcdServer === undefined ? undefined : { scheme: "etcd", start: startEtcd },
};

describe.each(Object.entries(kinds))("with the state in %s", (kind, replicated) => {
  const isThere = kind === "a file" || replicated !== undefined;

  async function place(): Promise<string[]> {
    servers = await replicated?.start(3);
    const hosts = servers?.addresses.map((address) => address.replace("http://", "")).join(",");
    return hosts === undefined ? [] : ["--state", `${replicated?.scheme}://${hosts}/cluster`];
  }

  test.skipIf(!isThere)(
    "everything is killed and the state is lost: after a restore named and detached things are there",
    { timeout: 120_000 },
    async () => {
      const before = await place();
      await machines.begin({ MOBULA_TOKEN: TOKEN }, ...before);
      await machines.join(1, { MOBULA_TOKEN: TOKEN });
      await fill();
      expect(await machines.mobula(0, {}, "backup", file)).toMatch(/holds the \d+ entries/);
      expect(statSync(file).mode & 0o777).toBe(0o600);
      expect(readFileSync(file, "utf8")).not.toContain(TOKEN);
      // The way to know it is the same for NATS and etcd, and takes some seconds.
      if (kind !== "etcd") {
        await expect(machines.mobula(0, {}, "restore", file, "--replace", ...before)).rejects.toThrow(
          /head .*(runs on|leads on) the state.* end all heads/,
        );
      }

      await everythingDies();
      await servers?.stop();
      rmSync(machines.stateDir, { recursive: true, force: true });
      const after = await place();
      expect(await machines.mobula(0, {}, "restore", file, ...after)).toMatch(/holds the \d+ entries of/);
      await expect(machines.mobula(0, {}, "restore", file, ...after)).rejects.toThrow(/holds \d+ entries/);
      await machines.begin({ MOBULA_TOKEN: TOKEN }, ...after);
      await machines.join(1, { MOBULA_TOKEN: TOKEN });
      await allIsThere();
    },
  );
});

test("only the head's state is lost: nodes find the head that has a backup of it, and their actors never noticed", {
  timeout: 60_000,
}, async () => {
  await machines.begin({ MOBULA_TOKEN: TOKEN });
  await joined();
  const early = detached("early");
  expect(await get(early.add.remote())).toBe(1);
  await machines.mobula(1, { MOBULA_ADDRESS: machines.address, MOBULA_TOKEN: TOKEN }, "backup", file);
  const late = detached("late");
  expect(await get(late.add.remote())).toBe(1);
  const [, port = ""] = machines.address.split(":");
  process.kill(machines.headPid, "SIGKILL");
  rmSync(machines.stateDir, { recursive: true });
  await machines.mobula(0, {}, "restore", file);
  await machines.mobula(0, { MOBULA_TOKEN: TOKEN }, "start", "--head", "--host", "127.0.0.1", "--port", port);
  expect(await get((await getActor<Counter>("early")).add.remote())).toBe(2);
  expect(await get(early.add.remote())).toBe(3);
  // Nobody has written down what was made after the backup.
  await expect(getActor("late")).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
  expect(await get(detached("late").add.remote())).toBe(1);
});

test("a damaged state names its file, and a restore keeps it under another name; a damaged backup changes nothing", {
  timeout: 60_000,
}, async () => {
  await machines.begin({ MOBULA_TOKEN: TOKEN }, ...TWO);
  await fill();
  await machines.mobula(0, {}, "backup", file);
  await everythingDies();
  const path = join(machines.stateDir, "control.sqlite");
  // What it had written last goes into the file first, from where it would be mended.
  const db = new DatabaseSync(path, { timeout: 5_000 });
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  db.close();
  truncateSync(path, statSync(path).size - 5_000);
  const damaged = readFileSync(path);
  const begin = machines.begin({ MOBULA_TOKEN: TOKEN });
  await expect(begin).rejects.toThrow(`the state store ${path} is damaged`);
  await expect(begin).rejects.toThrow("mobula restore");
  await expect(machines.mobula(0, {}, "restore", file)).rejects.toThrow(/is damaged.*--replace/);

  const half = `${file}.half`;
  const whole = readFileSync(file, "utf8");
  writeFileSync(half, whole.slice(0, whole.length / 2));
  await expect(machines.mobula(0, {}, "restore", half, "--replace")).rejects.toThrow(/backup .* cannot be used/);
  expect(readFileSync(path)).toEqual(damaged);

  const said = await machines.mobula(0, {}, "restore", file, "--replace");
  const [, kept = ""] = /What was there is in (\S+)\.\n/.exec(said) ?? [];
  expect(readFileSync(kept)).toEqual(damaged);
  await machines.begin({ MOBULA_TOKEN: TOKEN }, ...TWO);
  await allIsThere();
});
