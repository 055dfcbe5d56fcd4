/** `mobula profile`: where a worker or driver spends its time, what it allocates, or all that its heap holds. */
import { writeFileSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import { inspect } from "../state/mod.ts";
import { whom } from "./cli-ask.ts";
import { processCalled, WHICH_IDS } from "./cli-inspect.ts";
import { print } from "./cli-print.ts";
import { readSnapshot, SnapshotFile, tellProgress } from "./heap-snapshots.ts";
import { summaryLines } from "./heap-text.ts";

interface ProfileOptions {
  readonly cpu?: boolean;
  readonly heap?: boolean;
  readonly heapSnapshot?: boolean;
  readonly summary?: boolean;
  readonly force?: boolean;
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
    .description("record where a worker or driver spends its time, what it allocates, or all of its heap, into a file")
    .option("--cpu", "where it spends its time (default)")
    .option("--heap", "what it allocates and keeps")
    .option("--heap-snapshot", "all that its heap holds; it stands still meanwhile")
    .option("--summary", "of a heap snapshot: the largest constructors; without -o no file is written")
    .option("--force", "a heap snapshot although there is not enough memory for it")
    .option("--seconds <seconds>", `how long, 1 to ${SECONDS_MAX}`, seconds, SECONDS)
    .option("--node <name>", "on this node, if several have a process with the pid")
    .option("-o, --output <file>", "default: <pid>.cpuprofile, .heapprofile or .heapsnapshot in this folder")
    .option("--json", "what was written where, and the summary, as JSON, for programs")
    .option("--address <host:port>", "ask the head of this cluster (default: this machine's node, or MOBULA_ADDRESS)")
    .addHelpText(
      "after",
      `
${WHICH_IDS}
All kinds open in Chrome: DevTools, Performance (or Memory), Load profile; and a .cpuprofile in VS Code and on
https://www.speedscope.app.

A heap snapshot makes the process stand still, for up to 75 ms for each MiB of its heap, and needs up to 20 times the
heap in memory beside it (much less where the heap is of large strings). Where that is not there it is refused.

Examples:
  $ mobula profile 4711
  $ mobula profile counter --seconds 30 -o counter.cpuprofile
  $ mobula profile 4711 --heap --seconds 60
  $ mobula profile counter --heap-snapshot -o before.heapsnapshot
  $ mobula profile counter --summary`,
    )
    .action(profile);
}

async function profile(id: string, options: ProfileOptions): Promise<void> {
  const { cpu = false, heap = false, heapSnapshot = false, summary = false, force = false } = options;
  const isSnapshot = heapSnapshot || summary;
  if ([cpu, heap, isSnapshot].filter(Boolean).length > 1)
    throw new Error(
      "--cpu, --heap and --heap-snapshot (or --summary) are different things: ask for one after the other",
    );
  if (force && !isSnapshot) throw new Error("--force is for --heap-snapshot");
  if (isSnapshot) return snapshot(id, options);
  const { node, json = false, output, address } = options;
  const what = heap ? "heap" : "cpu";
  const ask = whom(address);
  const target = await processCalled(ask, id.trim(), node);
  const bytes = await inspect(ask, target, what, { seconds: options.seconds });
  const file = output ?? `${target.pid}.${what}profile`;
  writeFileSync(file, bytes);
  const { pid, nodeName, nodeId } = target;
  if (json) print(JSON.stringify({ file, bytes: bytes.length, what, seconds: options.seconds, pid, nodeId }));
  else print(`${file}: ${options.seconds} s of process ${pid} on ${nodeName}. Open it in Chrome's DevTools.`);
}

async function snapshot(id: string, options: ProfileOptions): Promise<void> {
  const { summary: isSummary = false, force = false, node, json = false, output, address } = options;
  const ask = whom(address);
  const target = await processCalled(ask, id.trim(), node);
  const { pid, nodeName, nodeId } = target;
  const path = output ?? (isSummary ? undefined : `${pid}.heapsnapshot`);
  const file = path === undefined ? undefined : new SnapshotFile(path);
  const { bytes, stillMs, summary } = await readSnapshot(ask, target, {
    isForced: force,
    file,
    isSummed: isSummary,
    onProgress: tellProgress(`${target.role} ${pid} on ${nodeName}`),
  });
  if (json) {
    const written = path === undefined ? {} : { file: path };
    const known = { bytes, what: "snapshot", stillMs: Math.round(stillMs), pid, nodeId };
    print(JSON.stringify({ ...written, ...known, ...(summary && { summary }) }));
    return;
  }
  const still = `It stood still for ${(stillMs / 1_000).toFixed(1)} s.`;
  if (path !== undefined)
    print(`${path}: the heap of process ${pid} on ${nodeName}. ${still} Open it in Chrome's DevTools, Memory.`);
  else print(`The heap of process ${pid} on ${nodeName}. ${still}`);
  if (summary) for (const line of summaryLines(summary)) print(line);
}

function seconds(text: string): number {
  const number = Number(text);
  if (text.trim() === "" || !(number >= 1 && number <= SECONDS_MAX)) {
    throw new InvalidArgumentError(`it must be a number of seconds from 1 to ${SECONDS_MAX}.`);
  }
  return number;
}
