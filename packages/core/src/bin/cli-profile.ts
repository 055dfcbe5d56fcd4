/** `mobula profile`: where a worker or driver spends its time, or what it allocates. */
import { writeFileSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import { inspect } from "../state/mod.ts";
import { whom } from "./cli-ask.ts";
import { processCalled, WHICH_IDS } from "./cli-inspect.ts";
import { print } from "./cli-print.ts";

interface ProfileOptions {
  readonly cpu?: boolean;
  readonly heap?: boolean;
  readonly seconds: number;
  readonly node?: string;
  readonly json?: boolean;
  readonly output?: string;
  readonly address?: string;
}

const SECONDS = 10;
const SECONDS_MAX = 300;

export function addProfile(program: Command): void {
  program
    .command("profile <id>")
    .description("record where a worker or driver spends its time, or what it allocates, into a file")
    .option("--cpu", "where it spends its time (default)")
    .option("--heap", "what it allocates and keeps")
    .option("--seconds <seconds>", `how long, 1 to ${SECONDS_MAX}`, seconds, SECONDS)
    .option("--node <name>", "on this node, if several have a process with the pid")
    .option("-o, --output <file>", "default: <pid>.cpuprofile or <pid>.heapprofile in this folder")
    .option("--json", "what was written where, as JSON, for programs")
    .option("--address <host:port>", "ask the head of this cluster (default: this machine's node, or MOBULA_ADDRESS)")
    .addHelpText(
      "after",
      `
${WHICH_IDS}
Both kinds open in Chrome: DevTools, Performance (or Memory), Load profile; and a .cpuprofile in VS Code and on
https://www.speedscope.app.

Examples:
  $ mobula profile 4711
  $ mobula profile counter --seconds 30 -o counter.cpuprofile
  $ mobula profile 4711 --heap --seconds 60`,
    )
    .action(profile);
}

async function profile(id: string, options: ProfileOptions): Promise<void> {
  const { cpu = false, heap = false, node, json = false, output, address } = options;
  if (cpu && heap) throw new Error("--cpu and --heap are two profiles: make one after the other");
  const what = heap ? "heap" : "cpu";
  const ask = whom(address);
  const target = await processCalled(ask, id.trim(), node);
  const bytes = await inspect(ask, target, what, options.seconds);
  const file = output ?? `${target.pid}.${what}profile`;
  writeFileSync(file, bytes);
  const { pid, nodeName, nodeId } = target;
  if (json) print(JSON.stringify({ file, bytes: bytes.length, what, seconds: options.seconds, pid, nodeId }));
  else print(`${file}: ${options.seconds} s of process ${pid} on ${nodeName}. Open it in Chrome's DevTools.`);
}

function seconds(text: string): number {
  const number = Number(text);
  if (text.trim() === "" || !(number >= 1 && number <= SECONDS_MAX)) {
    throw new InvalidArgumentError(`it must be a number of seconds from 1 to ${SECONDS_MAX}.`);
  }
  return number;
}
