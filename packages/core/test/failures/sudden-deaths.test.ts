/** The node killed, the driver killed, both at once: what is told, how soon, and what is left. */
import { afterEach, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { Program, type ProgramOptions, pidsRunning } from "./programs.ts";

const programs: Program[] = [];
function start(scenario: string, options?: ProgramOptions): Program {
  const program = new Program("driver.ts", scenario, options);
  programs.push(program);
  return program;
}
afterEach(() => {
  for (const program of programs.splice(0)) program.remove();
});

const gone = (isThere: () => boolean, withinMs = 2_000): Promise<boolean> =>
  eventually(() => !isThere(), "it is gone", withinMs);

interface Failure {
  readonly code: string;
  readonly kind: string;
  readonly message: string;
}

describe("the node is killed", () => {
  test("everything that waits is rejected within 2 s, later calls too, and a new init works", async () => {
    const program = start("waiting");
    await program.line("ready");
    const family = program.family();
    const [node] = pidsRunning("node", family);
    if (!node) throw new Error("the node was not found");
    const before = performance.now();
    process.kill(node, "SIGKILL");
    for (const name of ["get", "wait", "call", "queued", "stream"]) {
      const failure = await program.line<Failure>(name, 2_000);
      expect(failure, name).toMatchObject({ code: "CONNECTION_LOST", kind: "unavailable" });
      expect(failure.message).toMatch(/the node process is gone .*init\(\) to start again/);
    }
    expect(performance.now() - before).toBeLessThan(2_000);
    for (const name of ["later-get", "later-wait", "later-task", "later-nodes", "later-stream", "later-put"]) {
      expect(await program.line<Failure>(name, 2_000), name).toMatchObject({ code: "CONNECTION_LOST" });
    }
    expect(await program.line("shut-down", 2_000)).toBe(false);
    await program.line("done");
    // The workers of the first node are gone as well, and the driver ends by itself.
    expect(await program.exitWithin(2_000)).toEqual({ code: 0, signal: null });
    await program.leavesNothing();
  });
});

describe("what tasks started", () => {
  test("ends with the node, although its worker died first", async () => {
    const program = start("grandchildren");
    const grandchild = await program.line<number>("ready");
    const [node] = pidsRunning("node", program.family());
    if (!node) throw new Error("the node was not found");
    process.kill(node, "SIGKILL");
    await gone(() => program.family().includes(grandchild));
    program.kill();
    await program.leavesNothing(2_000);
  });
});

describe("the driver is killed", () => {
  test("with a worker in an endless loop, nothing is left within 2 s", async () => {
    const program = start("busy");
    await program.line("ready");
    await program.prints(/looping/);
    program.kill();
    await program.leavesNothing(2_000);
  });

  test("driver and node at the same moment, a worker in an endless loop: nothing is left within 2 s", async () => {
    const program = start("busy");
    await program.line("ready");
    await program.prints(/looping/);
    const [node] = pidsRunning("node", program.family());
    if (!node) throw new Error("the node was not found");
    process.kill(node, "SIGKILL");
    program.kill();
    await program.leavesNothing(2_000);
  });

  test("all of it at the same moment: the next run removes the files that are left", async () => {
    const program = start("busy");
    await program.line("ready");
    for (const pid of program.family()) process.kill(pid, "SIGKILL");
    await program.exited;
    expect(program.leftovers()).not.toEqual([]);
    const next = start("works", { folder: program.folder });
    await next.line("done");
    await next.exited;
    await program.leavesNothing();
  });

  test("a process that a task started ends with the rest", async () => {
    const program = start("grandchildren");
    const grandchild = await program.line<number>("ready");
    expect(program.family()).toContain(grandchild);
    program.kill();
    await program.leavesNothing(2_000);
  });
});

describe("the program ends", () => {
  test("process.exit with live views ends at once, with its code, and nothing is left", async () => {
    const program = start("exits");
    await program.line("ready");
    expect(await program.exitWithin(2_000)).toEqual({ code: 7, signal: null });
    await program.leavesNothing(2_000);
  });

  test("process.exit while the I/O thread loads native code ends with its code, too", async () => {
    // Where the thread is when the program exits is chance: without its gate, one in four lived.
    for (let round = 0; round < 3; round++) {
      const program = start("exitsEarly");
      expect(await program.exitWithin(20_000), program.stderr).toEqual({ code: 7, signal: null });
      await program.leavesNothing(2_000);
    }
  });

  test("after shutdown the program ends by itself, and views stay readable until then", async () => {
    const program = start("ends");
    expect(await program.line("done")).toEqual({ byte: 3 });
    expect(await program.exitWithin(2_000)).toEqual({ code: 0, signal: null });
    await program.leavesNothing(100);
  });

  test("without a shutdown it lives while a ref is awaited, and ends when the main module has", async () => {
    const program = start("finishes");
    expect(await program.line("done")).toBe("waited for");
    expect(await program.exitWithin(2_000)).toEqual({ code: 0, signal: null });
    await program.leavesNothing(2_000);
  });

  test("init and shutdown follow each other in one process, and refs of an earlier init are refused", async () => {
    const program = start("again");
    const codes = await program.line<string[]>("codes", 30_000);
    expect(codes.length).toBe(12);
    expect(new Set(codes)).toEqual(new Set(["REF_RELEASED"]));
    expect(await program.line("uninitialised")).toMatchObject({ code: "NOT_INITIALIZED" });
    expect(await program.exitWithin(2_000)).toEqual({ code: 0, signal: null });
    await program.leavesNothing(100);
  });
});
