/**
 * Runs the simulation: `node packages/sim/src/main.ts [--seed N] [--steps N] [--runs N]`. A seed repeats a run exactly.
 */
import { parseArgs } from "node:util";
import { simulate } from "./simulation.ts";

const { values } = parseArgs({
  options: { seed: { type: "string" }, steps: { type: "string" }, runs: { type: "string" } },
});
const number = (name: string, text: string | undefined, otherwise: number): number => {
  const value = text === undefined ? otherwise : Number(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`--${name} must be a whole number, not "${text}"`);
  return value;
};

const first = number("seed", values.seed, Math.floor(Math.random() * 2 ** 31));
const steps = number("steps", values.steps, 2_000);
const runs = number("runs", values.runs, 1);
for (let seed = first; seed < first + runs; seed++) {
  console.log(`seed ${seed}`);
  console.log(JSON.stringify(simulate({ seed, steps })));
}
