/** The command line of the benchmark. Pure. */
import { parseArgs } from "node:util";
import type { SideName } from "./plan/plan.ts";

export interface CommandLine {
  readonly peers: readonly Exclude<SideName, "mobula">[];
  /** Case-insensitive; a workload runs when its name, its session or one of its rows matches. */
  readonly only: RegExp | undefined;
  readonly rounds: number;
  readonly quick: boolean;
  readonly list: boolean;
  readonly help: boolean;
  readonly jsonFile: string | undefined;
  readonly writeDocument: boolean;
  /** Report from this file instead of running. */
  readonly fromFile: string | undefined;
  readonly withoutMobula: boolean;
}

export const USAGE = `usage: npm run bench -- [options]

  --peer ray|piscina   run the same workloads there too, in turns (repeatable; installed into bench/ at first use)
  --only PATTERN       only workloads whose name or row matches this regular expression
  --rounds N           rounds of each workload (default 5; the slowest run at most 3)
  --quick              one round of tiny inputs: shows that everything works, the figures mean nothing
  --json FILE          write machine, rows, medians, spreads and ratios
  --doc                write docs/benchmarks.md and docs/benchmarks-clusters.md, those of which something was run
  --from FILE          make the table (and --doc) from an earlier --json file, running nothing
  --peers-only         leave Mobula out
  --list               name the workloads and rows
  --help`;

const ROUNDS = 5;

/** @throws Error that says which argument is wrong and what is allowed. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  const { values } = parseArgs({
    args: [...args],
    options: {
      peer: { type: "string", multiple: true, default: [] },
      only: { type: "string" },
      rounds: { type: "string" },
      quick: { type: "boolean", default: false },
      json: { type: "string" },
      doc: { type: "boolean", default: false },
      from: { type: "string" },
      "peers-only": { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const rounds = values.rounds === undefined ? (values.quick ? 1 : ROUNDS) : Number(values.rounds);
  if (!Number.isSafeInteger(rounds) || rounds < 1)
    throw new Error(`--rounds takes a whole number from 1, not "${values.rounds}"`);
  const peers = [...new Set(values.peer)].map((peer) => {
    if (peer !== "ray" && peer !== "piscina") throw new Error(`--peer takes "ray" or "piscina", not "${peer}"`);
    return peer;
  });
  return {
    peers,
    only: values.only === undefined ? undefined : new RegExp(values.only, "i"),
    rounds,
    quick: values.quick,
    list: values.list,
    help: values.help,
    jsonFile: values.json,
    writeDocument: values.doc,
    fromFile: values.from,
    withoutMobula: values["peers-only"],
  };
}
