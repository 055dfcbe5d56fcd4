/** The command lines of `npm run soak` and `npm run chaos`. */
import { parseArgs } from "node:util";
import type { State } from "./cluster.ts";
import { Recordings } from "./recordings.ts";
import { pickSeed, runLoad } from "./run.ts";

export async function loadCommand(options: {
  readonly name: string;
  readonly killsPerOperation: number;
  readonly seconds: number;
  readonly nodes: number;
  /** Its engines are recorded, and replayed, unless that is not wanted. */
  readonly isRecorded?: boolean;
}): Promise<void> {
  const { name, killsPerOperation } = options;
  let { isRecorded = false } = options;
  let seconds = options.seconds;
  let nodes = options.nodes;
  let state: State = "sqlite";
  let seed = pickSeed();
  let withAlarms = false;
  try {
    const { values } = parseArgs({
      allowNegative: true,
      options: {
        seconds: { type: "string" },
        seed: { type: "string" },
        nodes: { type: "string" },
        state: { type: "string" },
        record: { type: "boolean" },
        alarms: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
    if (values.help === true) {
      console.log(
        `npm run ${name} -- [--alarms: the state service runs beside it, and may raise none]\n` +
          `  [--seconds N (default ${seconds})] [--seed N (default: another each time)]\n` +
          `  [--nodes N, of a cluster on this machine; 0: without a cluster (default ${nodes})]\n` +
          `  [--state sqlite|nats|etcd, where the cluster's control keeps it (default ${state})]\n` +
          `  [--${isRecorded ? "no-record, which holds up what is recorded: engines are not replayed" : "record: engines are recorded, and replayed"}]`,
      );
      return;
    }
    if (values.seconds !== undefined) seconds = number("seconds", values.seconds);
    if (values.seed !== undefined) seed = number("seed", values.seed);
    if (values.nodes !== undefined) nodes = wholeNumber("nodes", values.nodes);
    withAlarms = values.alarms ?? false;
    if (withAlarms && nodes > 0)
      throw new Error("--alarms is of this machine without a cluster: faults of nodes are none of a healthy load");
    if (values.record !== undefined) isRecorded = values.record;
    if (values.state !== undefined) state = stateOf(values.state);
  } catch (error) {
    console.error(`${name}: ${(error as Error).message} (see --help)`);
    process.exitCode = 1;
    return;
  }
  try {
    const print = (line: string): void => console.log(line);
    const recordings = isRecorded ? new Recordings() : undefined;
    recordings?.begin();
    await runLoad({ seconds, seed, killsPerOperation, nodes, state, isRecorded, withAlarms, print });
    recordings?.check(print);
  } catch (error) {
    console.error(error);
    console.error(
      `${name}: failed; the same operations again: npm run ${name} -- --seed ${seed} --seconds ${seconds} --nodes ${nodes} --state ${state}`,
    );
    process.exitCode = 1;
  }
}

function number(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new Error(`--${name} is ${text}; it must be a number above 0`);
  return value;
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0)
    throw new Error(`--${name} is ${text}; it must be a whole number of at least 0`);
  return value;
}

function stateOf(text: string): State {
  if (text === "sqlite" || text === "nats" || text === "etcd") return text;
  throw new Error(`--state takes "sqlite", "nats" or "etcd", not "${text}"`);
}
