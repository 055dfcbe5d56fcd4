import { expect, test } from "vitest";
import { identify } from "./processes.ts";
import { Side } from "./side.ts";

const options = { cpus: 1, storeBytes: 0 };
const noWork = { seconds: 0, count: 0, bytes: 0 };

/** A side written for the test: `reply` is the body of a function of the request's text, and gives the reply's. */
const sideThat = (reply: string): Side =>
  new Side({
    name: "test side",
    command: process.execPath,
    args: [
      "-e",
      `require("node:readline").createInterface({ input: process.stdin }).on("line", (request) => {
         const answer = ((request) => { ${reply} })(JSON.parse(request));
         if (answer !== undefined) require("node:fs").writeSync(3, JSON.stringify(answer) + "\\n");
       })`,
    ],
    version: "0",
  });

test("a side's measurement arrives as it was sent, whatever it prints", async () => {
  await using side = sideThat(
    `console.log("noise"); return { ok: true, measurement: { seconds: 1, count: 2, bytes: 3 } }`,
  );
  expect(await side.run("any", noWork, options, 10_000)).toEqual({ seconds: 1, count: 2, bytes: 3 });
});

test("a failed workload rejects with the side's own words, and the side can go on", async () => {
  await using side = sideThat(`return { ok: false, error: "went wrong" }`);
  await expect(side.run("any", noWork, options, 10_000)).rejects.toThrow(/workload "any" failed: went wrong/);
  expect(side.isIdle).toBe(true);
});

test("a side that dies rejects at once and shows its last output", async () => {
  await using side = sideThat(`console.error("last words"); process.exit(3)`);
  await expect(side.run("any", noWork, options, 60_000)).rejects.toThrow(/exit code 3/);
  expect(side.isAlive).toBe(false);
});

test("a side that does not answer is given up after its time and killed when disposed", async () => {
  const side = sideThat("return undefined");
  const { pid } = side;
  await expect(side.run("any", noWork, options, 50)).rejects.toThrow(/took more than 50 ms/);
  expect(side.isIdle).toBe(false);
  await side[Symbol.asyncDispose]();
  expect(identify(pid)).toBeUndefined();
});
