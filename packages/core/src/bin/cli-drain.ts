/** `mobula drain`: takes a node out of its cluster while its work goes on elsewhere. */

import { setTimeout as delay } from "node:timers/promises";
import type { Command } from "commander";
import { monotonicMs } from "../base/clock.ts";
import { findStandingNode, isRunning } from "../node/mod.ts";
import { asksHead, asksNode, byTool, headOfEnvironment } from "./cli-ask.ts";
import { duration } from "./cli-options.ts";
import { print } from "./cli-print.ts";

const DEADLINE_MS = 60_000;
/** A node that was drained has so long for its end. */
const END_MS = 5_000;
const LOOK_MS = 200;

export function addDrain(program: Command): void {
  program
    .command("drain [node]")
    .description("take a node (default: this machine's) out of its cluster: what runs there has until the deadline")
    .option("--deadline <time>", "how long what runs there may take, e.g. 60s or 10m (default: 60s)", duration)
    .addHelpText("after", "\nExamples:\n  $ mobula drain gpu-7 --deadline 10m\n  $ mobula drain")
    .action(drain);
}

async function drain(called: string | undefined, options: { readonly deadline?: number }): Promise<void> {
  const { deadline: deadlineMs = DEADLINE_MS } = options;
  const here = findStandingNode();
  const head = headOfEnvironment();
  if (here && !here.cluster) throw new Error("the node of this machine is in no cluster; `mobula stop` ends it");
  if (!here && !head) {
    throw new Error("no node is running here; set MOBULA_ADDRESS and MOBULA_TOKEN to those of a cluster");
  }
  const node = called ?? here?.nodeId;
  if (node === undefined) throw new Error("no node is running here: say which node is to be drained");
  const ask = here ? asksNode(here) : asksHead(head as NonNullable<typeof head>); // One of them is there.
  const { nodeId, name } = await ask("drain-node", { node, deadlineMs, ...byTool("mobula drain") });
  print(`Node ${name} takes nothing new; what runs there has ${Math.ceil(deadlineMs / 1_000)} s.`);
  const giveUpAt = monotonicMs() + deadlineMs + END_MS;
  const hasEnded = async (): Promise<boolean> => {
    if (here?.nodeId === nodeId) return !isRunning(here);
    const info = (await ask("nodes", null)).find((one) => one.nodeId === nodeId);
    return info === undefined || info.state === "dead";
  };
  while (!(await hasEnded())) {
    if (monotonicMs() > giveUpAt) throw new Error(`node ${name} has not ended ${END_MS / 1_000} s after its deadline`);
    await delay(LOOK_MS);
  }
  print(`Node ${name} has ended.`);
}
