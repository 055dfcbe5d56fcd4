/**
 * What capturing and reviving cost. Run: `node packages/core/src/closure/closure.bench.ts`. Does not measure the
 * transport, nor values that are captured.
 */
import { decode, encode } from "../codec/mod.ts";
import { createFunctionCustomizer } from "./mod.ts";

const rounds = Number(process.argv[2] ?? 2000);
const customizer = createFunctionCustomizer();
const make = (i: number) => (x: number) => x + i;

function microseconds(name: string, count: number, work: (i: number) => void): void {
  for (let i = 0; i < Math.min(count, 200); i++) work(i);
  const start = performance.now();
  for (let i = 0; i < count; i++) work(i);
  console.log(`${name}: ${(((performance.now() - start) * 1000) / count).toFixed(2)} µs`);
}

const start = performance.now();
encode(make(0), { customizer });
console.log(`first capture in this process: ${(performance.now() - start).toFixed(1)} ms`);
microseconds("capture of a fresh closure of a known position", rounds, (i) => encode(make(i), { customizer }));
const bytes = encode(make(1), { customizer }).toBytes();
microseconds("revive of a known unit with one captured value", rounds, () => decode(bytes, { customizer }));
class Holder {
  v = 1;
  read = () => this.v;
}
microseconds("capture of an arrow function with an outer this", Math.ceil(rounds / 20), () =>
  encode(new Holder().read, { customizer }),
);
const pair = () => {
  let n = 0;
  return [() => ++n, () => n];
};
microseconds("capture of two functions that share a variable", Math.ceil(rounds / 20), () =>
  encode(pair(), { customizer }),
);
const plain = Array.from({ length: 100 }, (_, i) => ({ i }));
microseconds("100 plain objects, without the customizer", rounds, () => encode(plain));
microseconds("100 plain objects, with the customizer", rounds, () => encode(plain, { customizer }));
