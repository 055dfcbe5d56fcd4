/** A small program that uses the package as its README shows, in each module format; prints OK when all is right. */
const body = (types: boolean) => `
  await init({ resources: { cpu: 2 } });
  // Before anything of this program was shipped, so that nothing is known of what it imports.
  const queue = new Queue${types ? "<number>" : ""}({ maxSize: 3 });
  await queue.put(1);
  const factor = 3;
  const triple = remote((x${types ? ": number" : ""}) => x * factor);
  class Counter {
    n = 0;
    add(by = 1) { return (this.n += by); }
  }
  const counter = remote(Counter).remote();
  const sum = remote((bytes${types ? ": Uint8Array" : ""}) => {
    let total = 0;
    for (const byte of bytes) total += byte;
    return total;
  });
  class TooMany extends MobulaError {}
  const twice = remote(async (to${types ? ": Queue<number>" : ""}) => {
    const [first, second] = await get([triple.remote(1), triple.remote(2)]);
    await to.putAll([first, second]);
    const own = new Queue();
    await own.put(await own.size());
    return new TooMany("INTERNAL", "internal", "not an error of ours");
  });
  const refused = await get(twice.remote(queue));
  if (!(refused instanceof TooMany)) throw new Error("the error's class was lost");
  const queued = await queue.getAll();
  if (queued.join() !== "1,3,6") throw new Error(queued.join());
  const stored = put(new Uint8Array(1024 * 1024).fill(7));
  const results = await get([triple.remote(14), counter.add.remote(2), sum.remote(stored)]);
  const array = await get(stored);
  await shutdown();
  if (JSON.stringify(results) !== JSON.stringify([42, 2, 7 * 1024 * 1024])) throw new Error(JSON.stringify(results));
  if (array.length !== 1024 * 1024 || array[1000] !== 7) throw new Error("the stored array came back changed");
`;

const names = "init, remote, get, put, shutdown, MobulaError, Queue";

export const esmProgram = `import { ${names} } from "mobula";\n${body(false)}\nconsole.log("OK");\n`;
export const typescriptProgram = `import { ${names} } from "mobula";\n${body(true)}\nconsole.log("OK");\n`;
export const commonJsProgram = `const { ${names} } = require("mobula");\n(async () => {\n${body(false)}\nconsole.log("OK");\n})();\n`;
export const vitestProgram = `import { test } from "vitest";\nimport { ${names} } from "mobula";\ntest("works", async () => {\n${body(true)}\n});\n`;

/** A module whose function runs as a task; its own state must not be shipped by value. */
export const taskModule = `const words = ["this text is in the task module"];\nexport function multiply(a: number, b: number): string { return words.length * a * b + "" }\n`;
export const programWithTaskModule = `import { ${names} } from "mobula";
import { multiply } from "./tasks/multiply.ts";
await init({ resources: { cpu: 1 } });
const product = await get(remote(multiply).remote(6, 7));
await shutdown();
console.log(product === "42" ? "OK" : product);
`;

/** A module that waits at its top level, and a program that does what is hard in a worker. */
export const waitingModule = `import { remote, get } from "mobula";
await new Promise((resolve) => setTimeout(resolve, 1));
export const ready = true;
export async function nested(x: number): Promise<number> {
  const factor = x;
  return get(remote((y: number) => y * factor).remote(7));
}
`;
export const hardProgram = `import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { get, init, put, remote, shutdown } from "mobula";
import { nested } from "./waits.ts";
await init({ resources: { cpu: 2 } });
const look = remote((bytes: Uint8Array) => bytes.length);
const thread = remote(async () => {
  const worker = new Worker("for (const name of ['net', 'http', 'v8', 'crypto']) require(name)", { eval: true });
  return (await once(worker, "exit"))[0];
});
console.log(JSON.stringify(await get([look.remote(put(new Uint8Array(1_000_000))), remote(nested).remote(6), thread.remote()])));
await shutdown();
`;
