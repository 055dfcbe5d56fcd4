/** Nodes that give each other files of programs: each a folder, with messages and bytes that are passed on at once. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConnectionLostError } from "../base/errors.ts";
import { type JobId, newJobId, newNodeId, nodeTag } from "../base/ids.ts";
import type { Fetch } from "../pull/mod.ts";
import { pack, proofOf } from "../wire/mod.ts";
import { CodeCache } from "./cache.ts";
import { decodeManifest, encodeManifest, hashOf } from "./manifest.ts";
import { Programs } from "./programs.ts";

let folder = "";
let nodes: Machine[] = [];
let job = newJobId();

beforeEach(() => {
  folder = realpathSync(mkdtempSync("/tmp/mobula-code-"));
  nodes = [];
  job = newJobId();
});
afterEach(() => {
  for (const node of nodes) node.programs.close();
  rmSync(folder, { recursive: true, force: true });
});

class Machine {
  readonly nodeId = newNodeId();
  readonly tag = nodeTag(this.nodeId);
  readonly key: string = this.nodeId;
  readonly fetched: string[] = [];
  /** Who has asked it for files. */
  readonly asked = new Set<Machine>();
  readonly cache: string;
  readonly programs: Programs;
  isDead = false;
  /** Of what it gives. */
  damage: ((name: string, bytes: Uint8Array) => void) | undefined;
  /** Before it gives something. */
  gate: Promise<void> | undefined;

  constructor(name: string, options: { readonly cache?: string; readonly bytesMax?: number } = {}) {
    this.cache = options.cache ?? join(folder, name);
    const at = (tag: string): Machine => nodes.find((node) => node.tag === tag) as Machine;
    this.programs = new Programs({
      here: this.nodeId,
      key: this.key,
      cache: new CodeCache(this.cache, options.bytesMax ?? 2 ** 30),
      trees: join(this.cache, "trees", this.tag),
      runtime: "/opt/mobula",
      send: (to, message) => {
        if (!at(to).isDead && !this.isDead) queueMicrotask(() => at(to).programs.hear(this.tag, message));
      },
      isDead: (tag) => at(tag).isDead,
      others: () => nodes.filter((node) => node !== this && !node.isDead).map(({ tag }) => tag),
      nameOf: () => name,
      fetch: (from, what) => this.fetch(at(from), what),
    });
    nodes.push(this);
  }

  private async fetch(from: Machine, { name, size, place }: Fetch): Promise<void> {
    this.fetched.push(name);
    from.asked.add(this);
    await from.gate;
    if (from.isDead) throw new ConnectionLostError("it is gone");
    const reading = from.programs.open(name);
    if (!reading) throw new ConnectionLostError(`${name} is not there`);
    if (reading.size !== size) throw new Error(`${reading.size} bytes and not ${size}`);
    if (!("memory" in reading.place) || !("memory" in place)) throw new Error("a large file");
    const bytes = Buffer.from(reading.place.memory);
    from.damage?.(name, bytes);
    place.memory.set(bytes);
  }

  wanted(modules: readonly string[], from: Machine) {
    const named = { job, modules: modules.map((path) => pathToFileURL(join(folder, path)).href), origins: [] };
    return { ...named, node: from.nodeId, proof: proofOf(named, from.key) };
  }

  /** What it has of the modules then. */
  async obtain(
    from: Machine,
    ...modules: string[]
  ): Promise<{ read(path: string): string; has(path: string): boolean }> {
    const { roots } = await this.programs.obtain(this.wanted(modules, from));
    const at = (path: string): string => join(roots.at(-1) ?? "", folder, path);
    return { read: (path) => readFileSync(at(path), "utf8"), has: (path) => existsSync(at(path)) };
  }

  die(): void {
    this.isDead = true;
    for (const node of nodes) node.programs.nodeDied(this.tag);
  }
}

function write(files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
}

const filesOf = (cache: string): string[] =>
  readdirSync(join(cache, "files"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

describe("what comes", () => {
  test("is what the modules import, and nothing else that lies beside them", async () => {
    write({
      "app/a.mjs": `import { b } from "./b.mjs"; // import "./commented.mjs"\nimport "wide";`,
      "app/b.mjs": `export const b = await import("./c.cjs");`,
      "app/c.cjs": `require("./d"); require("./absent");`,
      "app/d.js": "",
      "app/commented.mjs": "",
      "app/.env": "SECRET=1",
      "app/package.json": "{}",
      "node_modules/wide/package.json": `{"name":"wide","dependencies":{"deep":"1"},"peerDependencies":{"peer":"1"}}`,
      "node_modules/wide/index.js": "",
      "node_modules/wide/node_modules/nested/package.json": "{}",
      "node_modules/wide/node_modules/deep/package.json": "{}",
      "node_modules/deep/package.json": "{}",
      "node_modules/peer/package.json": "{}",
      "node_modules/other/package.json": "{}",
      "package.json": "{}",
    });
    const [home, there] = [new Machine("home"), new Machine("there")];
    const { has } = await there.obtain(home, "app/a.mjs");
    const all = ["app/a.mjs", "app/b.mjs", "app/c.cjs", "app/d.js", "app/package.json"];
    const packages = ["wide/index.js", "wide/node_modules/deep/package.json", "peer/package.json"];
    for (const path of [...all, ...packages.map((path) => `node_modules/${path}`)])
      expect([path, has(path)]).toEqual([path, true]);
    const unwanted = ["wide/node_modules/nested", "deep", "other"].map((path) => `node_modules/${path}`);
    for (const path of ["app/commented.mjs", "app/.env", "package.json", ...unwanted]) {
      expect([path, has(path)]).toEqual([path, false]);
    }
  });

  test("comes once: for all who ask at the same time, for later ones, and for another run of the program", async () => {
    write({ "a.mjs": "a", "b.mjs": "b" });
    const [home, there] = [new Machine("home"), new Machine("there")];
    await Promise.all([there.obtain(home, "a.mjs"), there.obtain(home, "a.mjs", "b.mjs"), there.obtain(home, "b.mjs")]);
    const { length } = there.fetched;
    expect(length).toBe(4);
    await there.obtain(home, "b.mjs");
    job = newJobId();
    await there.obtain(home, "a.mjs");
    const again = new Machine("again", { cache: there.cache });
    expect((await again.obtain(home, "a.mjs")).read("a.mjs")).toBe("a");
    expect(again.fetched).toEqual([]);
    expect(there.fetched).toHaveLength(length);
  });

  test("comes from those that asked before, when many ask: none gives it to more than four", async () => {
    write({ "a.mjs": "a", "b.mjs": "b" });
    const home = new Machine("home");
    const others = Array.from({ length: 40 }, (_, n) => new Machine(`n${n}`));
    const all = await Promise.all(others.map((node) => node.obtain(home, "a.mjs")));
    expect(all.map(({ read }) => read("a.mjs"))).toEqual(others.map(() => "a"));
    expect(nodes.map(({ asked }) => asked.size).sort((a, b) => b - a)).toEqual([
      ...Array<number>(10).fill(4),
      ...Array<number>(31).fill(0),
    ]);
    // In another order, and what is needed later.
    await Promise.all(others.reverse().map((node) => node.obtain(home, "a.mjs", "b.mjs")));
    expect(others.every(({ fetched }) => fetched.length === 4)).toBe(true);
    expect(home.asked.size).toBeLessThanOrEqual(8);
  });

  test("comes once for two runs that need it at the same time", async () => {
    // So many that neither lays them out in one go.
    const names = Array.from({ length: 300 }, (_, n) => `m${n}.mjs`);
    write(Object.fromEntries(names.map((name) => [name, name])));
    const [home, there] = [new Machine("home"), new Machine("there")];
    const first = there.obtain(home, ...names);
    job = newJobId();
    const both = await Promise.all([first, there.obtain(home, ...names)]);
    for (const { read } of both) expect(names.map(read)).toEqual(names);
    expect(there.fetched.filter((name) => name.endsWith(".0.300"))).toHaveLength(1);
  });

  test("is what the modules held when they were first asked for in a run, also when they have changed", async () => {
    write({ "a.mjs": "one" });
    const [home, there, third] = [new Machine("home"), new Machine("there"), new Machine("third")];
    await there.obtain(home, "a.mjs");
    write({ "a.mjs": "two" });
    expect((await third.obtain(home, "a.mjs")).read("a.mjs")).toBe("one");
    job = newJobId();
    expect((await there.obtain(home, "a.mjs")).read("a.mjs")).toBe("two");
  });

  test("what is needed later stands on what is there: a file that both need is one file", async () => {
    write({
      "lib/shared.mjs": "shared",
      "lib/a.mjs": `import "./shared.mjs"`,
      "b/b.mjs": `import "../lib/shared.mjs"`,
    });
    const [home, there] = [new Machine("home"), new Machine("there")];
    const { roots: first } = await there.programs.obtain(there.wanted(["lib/a.mjs"], home));
    const { roots } = await there.programs.obtain(there.wanted(["b/b.mjs"], home));
    expect(roots).toHaveLength(2);
    const real = (root = "", path = ""): string => realpathSync(join(root, folder, path));
    expect(real(roots[1], "lib/shared.mjs")).toBe(real(first[0], "lib/shared.mjs"));
    expect(real(roots[1], "b/b.mjs")).toBe(join(roots[1] ?? "", folder, "b/b.mjs"));
  });

  test("finds this package on its own machine", async () => {
    write({ "a.mjs": `import "mobula"`, "node_modules/mobula/index.js": "of the other machine" });
    const [home, there] = [new Machine("home"), new Machine("there")];
    const { roots } = await there.programs.obtain(there.wanted(["a.mjs"], home));
    const link = join(roots[0] ?? "", folder, "node_modules/mobula");
    expect(execFileSync("readlink", [link], { encoding: "utf8" })).toBe("/opt/mobula\n");
  });
});

describe("when something fails", () => {
  test("a program that is gone: another node that has had the modules gives them", async () => {
    write({ "a.mjs": "a" });
    const [home, second, third] = [new Machine("home"), new Machine("second"), new Machine("third")];
    await second.obtain(home, "a.mjs");
    home.die();
    expect((await third.obtain(home, "a.mjs")).read("a.mjs")).toBe("a");
  });

  test("nobody has them: the error names the module, and where it was looked for", async () => {
    write({ "a.mjs": "a" });
    const [home, second, third] = [new Machine("home"), new Machine("second"), new Machine("third")];
    await second.obtain(home, "a.mjs");
    home.die();
    await expect(third.obtain(home, "b.mjs")).rejects.toMatchObject({
      code: "MODULE_UNAVAILABLE",
      message: expect.stringMatching(/b\.mjs cannot be had: .*node third: it is gone.*1 other nodes were asked/),
    });
  });

  test("the program's node dies while the files come: they come from another", async () => {
    write({ "a.mjs": "a" });
    const [home, second, third] = [new Machine("home"), new Machine("second"), new Machine("third")];
    await second.obtain(home, "a.mjs");
    const gate = Promise.withResolvers<void>();
    home.gate = gate.promise;
    const obtained = third.obtain(home, "a.mjs");
    await expect.poll(() => third.fetched.length).toBe(1);
    home.die();
    gate.resolve();
    expect((await obtained).read("a.mjs")).toBe("a");
  });

  const holder = async (): Promise<{ home: Machine; fifth: Machine; obtain(): Promise<string> }> => {
    write({ "a.mjs": "a" });
    const home = new Machine("home");
    const first = Array.from({ length: 4 }, (_, n) => new Machine(`n${n}`));
    const fifth = new Machine("fifth");
    for (const node of first) await node.obtain(home, "a.mjs");
    return { home, fifth, obtain: async () => (await fifth.obtain(home, "a.mjs")).read("a.mjs") };
  };

  test("a node that is to pass them on dies meanwhile: they come from the program's", async () => {
    const { home, fifth, obtain } = await holder();
    const [, source] = nodes;
    const gate = Promise.withResolvers<void>();
    if (source) source.gate = gate.promise;
    const obtained = obtain();
    await expect.poll(() => source?.asked.has(fifth)).toBe(true);
    source?.die();
    gate.resolve();
    expect(await obtained).toBe("a");
    expect(home.asked.has(fifth)).toBe(true);
  });

  test("a node that is to pass them on gives other bytes: they come from the program's", async () => {
    const { home, fifth, obtain } = await holder();
    const [, source] = nodes;
    if (source) source.damage = (_name, bytes) => bytes.fill(0);
    expect(await obtain()).toBe("a");
    expect([source?.asked.has(fifth), home.asked.has(fifth)]).toEqual([true, true]);
  });

  test("nodes that are to pass them on cannot get them either: they come from the program's", async () => {
    write({ "a.mjs": "a" });
    const home = new Machine("home");
    const all = Array.from({ length: 5 }, (_, n) => new Machine(`n${n}`));
    home.damage = (_name, bytes) => void (home.asked.size <= 4 && bytes.fill(0));
    const got = await Promise.allSettled(all.map((node) => node.obtain(home, "a.mjs")));
    const states = got.map(({ status }) => status);
    expect(states.filter((status) => status === "fulfilled")).toHaveLength(1);
    expect(home.asked.size).toBe(5);
  });

  test("a module that is not there is named", async () => {
    const [home, there] = [new Machine("home"), new Machine("there")];
    await expect(there.obtain(home, "none.mjs")).rejects.toThrow(
      /module .*none\.mjs is not there on the program.s machine/,
    );
  });

  test("bytes that are not those of the list are refused", async () => {
    write({ "a.mjs": "right" });
    const [home, there] = [new Machine("home"), new Machine("there")];
    home.damage = (name, bytes) => {
      if (name.endsWith(".0.1")) bytes[0] = 0;
    };
    await expect(there.obtain(home, "a.mjs")).rejects.toThrow(/a\.mjs came damaged/);
    home.damage = undefined;
    expect((await there.obtain(home, "a.mjs")).read("a.mjs")).toBe("right");
  });

  test("what is kept on disk and has become damaged comes again", async () => {
    write({ "a.mjs": "right" });
    const [home, there] = [new Machine("home"), new Machine("there")];
    await there.obtain(home, "a.mjs");
    for (const path of filesOf(there.cache)) {
      chmodSync(path, 0o600);
      writeFileSync(path, "wrong");
    }
    const again = new Machine("again", { cache: there.cache });
    expect((await again.obtain(home, "a.mjs")).read("a.mjs")).toBe("right");
    expect(again.fetched).toHaveLength(2);
  });

  test.skipIf(process.getuid?.() !== 0)("a full disk is named, with what to do (needs root)", async () => {
    write({ "a.mjs": "a".repeat(3_000_000) });
    const small = join(folder, "small");
    mkdirSync(small);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", small]);
    try {
      const [home, there] = [new Machine("home"), new Machine("there", { cache: small })];
      await expect(there.obtain(home, "a.mjs")).rejects.toMatchObject({
        code: "DISK_FULL",
        message: expect.stringMatching(/small\/?.*MOBULA_CACHE_DIR/),
      });
      execFileSync("mount", ["-o", "remount,size=16m", small]);
      expect((await there.obtain(home, "a.mjs")).read("a.mjs")).toHaveLength(3_000_000);
    } finally {
      execFileSync("umount", ["-l", small]);
    }
  });
});

describe("what nodes may ask for", () => {
  test("only modules that a process of the program's machine has named, and what those need", async () => {
    write({ "a.mjs": `import "./b.mjs"`, "b.mjs": "", "secret.mjs": "" });
    const [home, there] = [new Machine("home"), new Machine("there")];
    const { proof } = there.wanted(["a.mjs"], home);
    const forged = { ...there.wanted(["secret.mjs"], home), proof };
    await expect(there.programs.obtain(forged)).rejects.toThrow(
      /no process of this node has said that others may have module .*secret\.mjs/,
    );
    await there.obtain(home, "a.mjs");
    await expect(there.programs.obtain(forged)).rejects.toThrow(/no process/);
    await expect(there.programs.obtain({ ...there.wanted(["b.mjs"], home), proof: "" })).resolves.toBeDefined();
    await expect(there.programs.obtain({ ...there.wanted(["a.mjs"], home), job: "00000000" as JobId })).rejects.toThrow(
      /no process/,
    );
    expect(home.programs.open(`code.${hashOf(Buffer.from("x"))}`)).toBeUndefined();
    expect(home.programs.open("../../etc/passwd")).toBeUndefined();
  });

  test.each([["/a/../../b"], ["/../a"], ["a"], ["/a//b"], ["/a/./b"], ["/a\0b"], ["/"], [""]])(
    "a list that leads out of its folder is refused: %j",
    (path) => {
      const hash = Buffer.alloc(32);
      for (const entry of [[path, hash, 1, false], [path, "/x"], ["/x", path], [path]]) {
        expect(() => decodeManifest(pack([1, "linux-x64", [entry]]))).toThrow(/was refused/);
      }
    },
  );

  test("so is one with something behind a link or in a file, also of an earlier list", async () => {
    const link = { path: "/app/node_modules/mobula", isRuntime: true } as const;
    const file = {
      path: "/app/node_modules/mobula/dist/x.js",
      hash: hashOf(Buffer.from("")),
      size: 0,
      isExecutable: false,
    };
    const list = (...entries: readonly (typeof link | typeof file)[]) =>
      encodeManifest({ platform: "linux-x64", entries });
    expect(() => decodeManifest(list(link, file))).toThrow(/which is no folder/);
    expect(() => decodeManifest(list(file))).not.toThrow();
    const [home, there] = [new Machine("home"), new Machine("there")];
    write({ "a.mjs": `import "mobula"`, "node_modules/mobula/x.mjs": "" });
    await there.obtain(home, "a.mjs");
    await expect(there.obtain(home, "node_modules/mobula/x.mjs")).rejects.toThrow(/which is no folder/);
  });
});

describe("what is kept", () => {
  test("goes when there is too much of it, what was not used for longest first", async () => {
    const size = 100_000;
    for (const name of ["a", "b", "c"]) write({ [`${name}.mjs`]: name.repeat(size) });
    const [home, there] = [new Machine("home"), new Machine("there", { bytesMax: 2.5 * size })];
    const keeps = (): string =>
      filesOf(there.cache)
        .filter((path) => statSync(path).size === size)
        .map((path) => readFileSync(path, "utf8").charAt(0))
        .sort()
        .join("");
    const use = async (name: string): Promise<void> => {
      job = newJobId();
      await there.obtain(home, `${name}.mjs`);
      const then = Date.now();
      // What is used within one tick of the clock is used at the same time.
      await expect.poll(() => Date.now()).toBeGreaterThan(then + 1);
    };
    await use("a");
    await use("b");
    await use("a");
    expect(keeps()).toBe("ab");
    await use("c");
    expect(keeps()).toBe("ac");
  });

  test("two nodes that write to it at once do each other no harm", async () => {
    const names = Array.from({ length: 50 }, (_, at) => `m${at}.mjs`);
    for (const name of names) write({ [name]: name.repeat(1_000) });
    const home = new Machine("home");
    const both = [
      new Machine("one", { cache: join(folder, "cache") }),
      new Machine("two", { cache: join(folder, "cache") }),
    ];
    const found = await Promise.all(both.map((node) => node.obtain(home, ...names)));
    for (const { read } of found) for (const name of names) expect(read(name)).toBe(name.repeat(1_000));
    expect(filesOf(join(folder, "cache")).filter((path) => path.endsWith(".tmp"))).toEqual([]);
  });
});
