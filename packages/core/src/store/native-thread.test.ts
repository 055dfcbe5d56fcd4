/** How programs end while a thread of theirs calls the system. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const FIXTURE = fileURLToPath(new URL("./fixtures/native-ends.ts", import.meta.url));

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const program = execFile(process.execPath, ["--conditions=mobula-source", FIXTURE, ...args], (_, stdout, stderr) =>
      resolve({ code: program.exitCode, signal: program.signalCode, stdout: stdout.trim(), stderr }),
    );
  });
}

test.each([
  ["process.exit()", "exit", 7],
  ["an uncaught exception", "throw", 1],
  ["the end of what it does", "end", 0],
  ["ending the thread", "terminate", 8],
])(
  "a program that ends by %s while its thread is in a native call waits for that call, and has its code",
  async (_name, end, code) => {
    const ended = await run(end, "inside");
    expect(ended, ended.stderr).toMatchObject({ code, signal: null, stdout: "done 1" });
  },
);

test("a thread that is outside its gate may be ended in the middle of anything", async () => {
  expect(await run("exit", "outside")).toMatchObject({ code: 7, stdout: "done 0" });
});

test("a thread that never leaves its gate does not keep the program from ending", async () => {
  expect(await run("exit", "stuck")).toMatchObject({ code: 7, stdout: "done 0" });
});

test("a thread with a gate cannot call the system outside it", async () => {
  expect((await run("", "careless")).stdout).toContain("only inside its native gate");
});
