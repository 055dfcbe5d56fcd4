import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, expect, test } from "vitest";
import { anonymousBytes, identify, killProcesses, processTree, treeMemory } from "./processes.ts";

const children: ReturnType<typeof spawn>[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** A process with a child of its own, which holds 64 MiB that it has written to. */
async function startTree(): Promise<number> {
  const inner =
    "const b = Buffer.alloc(64 * 2 ** 20, 1); process.stdout.write('ready'); setInterval(() => b.length, 1e6)";
  const outer = `require("node:child_process").spawn(process.execPath, ["-e", ${JSON.stringify(inner)}], { stdio: "inherit" })`;
  const child = spawn(process.execPath, ["-e", outer], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  await once(child.stdout, "data");
  if (child.pid === undefined) throw new Error("the process did not start");
  return child.pid;
}

test("the memory of a tree includes what its children hold", async () => {
  const root = await startTree();
  const { processes, pssBytes } = treeMemory(root);
  expect(processes).toBe(2);
  expect(pssBytes).toBeGreaterThan(64 * 2 ** 20);
  expect(anonymousBytes(root)).toBeLessThan(64 * 2 ** 20);
  killProcesses(processTree(root).flatMap((pid) => identify(pid) ?? []));
});

test("only a process that is still the same one is killed", async () => {
  const root = await startTree();
  const tree = processTree(root);
  killProcesses([{ pid: root, startTime: "0" }]);
  expect(identify(root)).toBeDefined();
  const exited = once(children[0] ?? process, "exit");
  killProcesses(tree.flatMap((pid) => identify(pid) ?? []));
  expect((await exited)[1]).toBe("SIGKILL");
});
