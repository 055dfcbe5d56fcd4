/** `mobula stack`: what a worker or driver does now, or what it waits for. */
import { writeFileSync } from "node:fs";
import type { Command } from "commander";
import { inspect } from "../state/mod.ts";
import { ALL_PROCESSES, type FoundProcess, type InspectedStack } from "../wire/inspection.ts";
import { type Asks, whom } from "./cli-ask.ts";
import { processCalled, WHICH_IDS } from "./cli-inspect.ts";
import { print } from "./cli-print.ts";
import { stackLines, suspendedLines } from "./stack-text.ts";
import { suspendedCode } from "./suspended-code.ts";

interface StackOptions {
  readonly all?: boolean;
  readonly full?: boolean;
  readonly async?: boolean;
  readonly force?: boolean;
  readonly node?: string;
  readonly json?: boolean;
  readonly output?: string;
  readonly address?: string;
}

/** Those that do not answer take 1.6 s; those that do would share the processors. */
const AT_ONCE = 4;
/** Of a process so many of the refs that it waits for are explained. */
const EXPLAINED_MAX = 3;

export function addStack(program: Command): void {
  program
    .command("stack [id]")
    .description("show what a worker or driver does now: its stack, what runs in it, and what that waits for")
    .option("--all", "of every worker and driver")
    .option("--full", "with the frames of Node.js and Mobula")
    .option(
      "--async",
      "with the lines at which async functions wait: takes a snapshot of its heap, and it stands still meanwhile",
    )
    .option("--force", "with --async, although there is not enough memory for it")
    .option("--node <name>", "on this node, if several have a process with the pid")
    .option("--json", "as JSON, for programs")
    .option("-o, --output <file>", "write to a file")
    .option("--address <host:port>", "ask the head of this cluster (default: this machine's node, or MOBULA_ADDRESS)")
    .addHelpText(
      "after",
      `
${WHICH_IDS}
The process stands still for a millisecond or two. One whose program does not answer, because it is stopped or in native
code, is shown as the kernel sees it.

Code that awaits has no stack. --async finds it in the heap: each async function that waits, with its line, and who awaits
that. The process stands still for up to 75 ms for each MiB of its heap, and up to 2 s more.

Examples:
  $ mobula stack 4711
  $ mobula stack counter
  $ mobula stack counter --async
  $ mobula stack --all
  $ mobula stack 5f2c81c0a7be3d41c09f6ab10000000000000017f3a10c52 --full`,
    )
    .action(stack);
}

async function stack(id: string | undefined, options: StackOptions): Promise<void> {
  const {
    all = false,
    full = false,
    async: isAsync = false,
    force = false,
    node,
    json = false,
    output,
    address,
  } = options;
  if (isAsync && all) throw new Error("--async makes a process stand still: ask for one, by its id");
  if (force && !isAsync) throw new Error("--force is for --async");
  if (all === (id !== undefined)) throw new Error("say which process by a pid or an id, or --all for every one");
  const ask = whom(address);
  const targets = id === undefined ? await everyProcess(ask, node) : [await processCalled(ask, id.trim(), node)];
  const stacks: InspectedStack[] = [];
  // One of many may have ended meanwhile.
  const look = (target: FoundProcess) =>
    stackOf(ask, target).catch((error: Error) => {
      if (!all) throw error;
      return silent(target, error.message);
    });
  for (let at = 0; at < targets.length; at += AT_ONCE)
    stacks.push(...(await Promise.all(targets.slice(at, at + AT_ONCE).map(look))));
  const [target] = targets;
  const suspended = isAsync && target && stacks[0]?.program ? await suspendedCode(ask, target, force) : undefined;
  const lines = json
    ? [JSON.stringify(id === undefined ? stacks : { ...stacks[0], ...(suspended && { suspended }) })]
    : await shown(ask, stacks, full, suspended !== undefined);
  if (suspended && !json)
    lines.push(...suspendedLines(suspended, { isFull: full, columns: columns(), cwd: process.cwd() }));
  if (output === undefined) for (const line of lines) print(line);
  else writeFileSync(output, `${lines.join("\n")}\n`);
}

async function everyProcess(ask: Asks, node: string | undefined): Promise<readonly FoundProcess[]> {
  const found = await ask("find-process", { id: ALL_PROCESSES });
  const meant = found.filter(({ nodeId, nodeName }) => node === undefined || nodeId === node || nodeName === node);
  if (meant.length === 0) throw new Error(node === undefined ? "no worker and no driver runs" : `none runs on ${node}`);
  return meant;
}

async function stackOf(ask: Asks, target: FoundProcess): Promise<InspectedStack> {
  const bytes = await inspect(ask, target, "stack");
  return JSON.parse(bytes.toString()) as InspectedStack; // As the node gives it, see node/inspections.ts.
}

const silent = (target: FoundProcess, why: string): InspectedStack => ({
  ...target,
  atMs: Date.now(),
  program: null,
  kernel: { why, sentences: [], threads: [], residentBytes: null, swappedBytes: null },
});

/** Of many: what does nothing hides what does. */
function withoutIdle(stacks: readonly InspectedStack[]): readonly InspectedStack[] {
  if (stacks.length === 1) return stacks;
  return stacks.filter(
    ({ program }) => !program || program.stack.length > 0 || program.runningTotal > 0 || program.waitsTotal > 0,
  );
}

const columns = (): number => process.stdout.columns ?? 80;

async function shown(
  ask: Asks,
  stacks: readonly InspectedStack[],
  isFull: boolean,
  isAsync: boolean,
): Promise<string[]> {
  const lines: string[] = [];
  const busy = withoutIdle(stacks);
  for (const [index, one] of busy.entries()) {
    const ids = (one.program?.waits ?? []).flatMap((wait) => wait.ids).slice(0, EXPLAINED_MAX);
    const why = new Map<string, string>();
    for (const id of ids) {
      // What is said of it beside is a help; the stack counts.
      const sentence = await ask("explain-id", { id }).then(({ sentences }) => sentences[0], reason);
      if (sentence !== undefined) why.set(id, sentence);
    }
    if (index > 0) lines.push("");
    lines.push(...stackLines(one, { why, isFull, isAsync, columns: columns(), cwd: process.cwd() }));
  }
  const idle = stacks.length - busy.length;
  if (idle > 0) lines.push(...(busy.length > 0 ? [""] : []), `In ${idle} other processes nothing runs.`);
  return lines;
}

const reason = ({ message }: Error): string => message;
