/** Functions become tasks. */
import { availableParallelism } from "node:os";
import { get, init, isError, remote, shutdown } from "mobula";

await init(); // this machine, nothing to start beforehand

// Any function; what it uses from around it goes along.
const exponent = 3;
const power = remote((x: number) => x ** exponent);
console.log("powers", await get([1, 2, 3].map((x) => power.remote(x))));

// A ref stands for a result that need not exist yet, and can be an argument: the value goes from worker to worker.
const add = remote((a: number, b: number) => a + b);
console.log("sum", await get(add.remote(power.remote(2), power.remote(3))));

// Several results, each with a ref of its own.
const divide = remote((a: number, b: number): [number, number] => [Math.floor(a / b), a % b], { numReturns: 2 });
const [quotient, rest] = divide.remote(17, 5);
console.log("quotient and rest", await get([quotient, rest]));

// Tasks may submit tasks.
const fibonacci = remote(async (n: number): Promise<number> => {
  if (n < 2) return n;
  const [a, b] = await get([fibonacci.remote(n - 1), fibonacci.remote(n - 2)]);
  return a + b;
});
console.log("fibonacci", await get(fibonacci.remote(8)));

// The error of a task is the cause of what `get` throws.
const fail = remote((what: string) => {
  throw new RangeError(`there is no ${what}`);
});
try {
  await get(fail.remote("spoon"));
} catch (error) {
  if (!isError(error, "TASK_FAILED")) throw error;
  console.log("failed with", String(error.cause));
}

// Each of these ran in one of the worker processes.
const whereAmI = remote(() => process.pid);
const pids = new Set(await get(Array.from({ length: 50 }, () => whereAmI.remote())));
console.log("ran outside this process", !pids.has(process.pid), "on at most", availableParallelism(), "CPUs");

await shutdown();
