/** The command `mobula`: nodes and heads that stand on this machine, for programs that join them. */
import { Command } from "commander";
import { stopStandingHead } from "../head/mod.ts";
import { findStandingNode, stopStandingNode, whyNoNode } from "../node/mod.ts";
import type { HeadsInfo } from "../wire/queries.ts";
import { asksHead, asksNode, headOfEnvironment } from "./cli-ask.ts";
import { addBackup } from "./cli-backup.ts";
import { addCompletion } from "./cli-completion.ts";
import { addDashboard } from "./cli-dashboard.ts";
import { addDebugBundle } from "./cli-debug-bundle.ts";
import { addDoctor } from "./cli-doctor.ts";
import { addDrain } from "./cli-drain.ts";
import { addJob } from "./cli-job.ts";
import { addList } from "./cli-list.ts";
import { addLogs } from "./cli-logs.ts";
import { print } from "./cli-print.ts";
import { addProfile } from "./cli-profile.ts";
import { addQuota } from "./cli-quota.ts";
import { addStack } from "./cli-stack.ts";
import { addStart } from "./cli-start.ts";
import { addSubmit } from "./cli-submit.ts";
import { addSummary } from "./cli-summary.ts";
import { addTimeline } from "./cli-timeline.ts";
import { addTop } from "./cli-top.ts";
import { addUp } from "./cli-up.ts";
import { addWhy } from "./cli-why.ts";
import { packageManifest } from "./entries.ts";
import { actorLines, limitsLines, nodeLines, nodeTable, olderNodes, waitingLines } from "./status-table.ts";

const manifest = packageManifest();

const program = new Command("mobula")
  .description(manifest.description)
  .version(manifest.version, "-v, --version", "print the version")
  .helpOption("-h, --help", "print this help")
  .addHelpText(
    "after",
    `
Examples:
  $ mobula start                             a node with everything this machine has
  $ mobula start --head                      the same, as the head of a cluster that others can join
  $ mobula start --cpus 4 --resource disk=2  with less, and with a resource of your own
  $ MOBULA_ADDRESS=auto node app.ts          a program that joins it
  $ mobula status
  $ mobula stop`,
  );

addStart(program);

program
  .command("stop")
  .description("end the node of this machine; actors run their shutdown hooks first")
  .option("--now", "at once, without waiting for actors")
  .addHelpText("after", "\nExamples:\n  $ mobula stop\n  $ mobula stop --now")
  .action(async ({ now = false }: { readonly now?: boolean }) => {
    const didRun = await stopStandingNode({ atOnce: now });
    print(didRun ? "The node has ended." : "No node is running.");
    const head = await stopStandingHead();
    if (head?.replicated !== undefined) print(`The head has ended; its cluster's state stays in ${head.replicated}.`);
    else if (head) print("The head has ended, and its cluster with it.");
  });

program
  .command("status")
  .description("show the node of this machine and its cluster, or the cluster of MOBULA_ADDRESS")
  .option("--json", "as JSON, for programs")
  .addHelpText("after", "\nExamples:\n  $ mobula status\n  $ mobula status --json | jq .nodes[0].available")
  .action(status);

addDashboard(program);
addSubmit(program);
addJob(program);
addList(program);
addLogs(program);
addSummary(program);
addTop(program);
addTimeline(program);
addDoctor(program);
addDebugBundle(program);
addDrain(program);
addBackup(program);
addUp(program);
addWhy(program);
addStack(program);
addProfile(program);
addQuota(program);
addCompletion(program);
nameHelp(program, "mobula");

/** After a wrong use: the help of the command that was used wrongly. */
function nameHelp(command: Command, path: string): void {
  command.showHelpAfterError(`(${path} --help says how it is used)`);
  for (const one of command.commands) nameHelp(one, `${path} ${one.name()}`);
}

async function status({ json = false }: { readonly json?: boolean }): Promise<void> {
  const here = findStandingNode();
  const head = here ? undefined : headOfEnvironment();
  const columns = process.stdout.columns ?? 80;
  if (head) {
    const ask = asksHead(head);
    const [nodes, heads] = [await ask("nodes", null), await ask("heads", null)];
    const waiting = await ask("waiting-demands", null);
    if (json) print(JSON.stringify({ running: true, heads, nodes, waiting }));
    else {
      showCluster(heads, nodes, undefined, columns);
      for (const line of waitingLines(waiting, columns)) print(line);
    }
    return;
  }
  if (!here) {
    const why = whyNoNode();
    if (json) print(JSON.stringify({ running: false, ...(why !== undefined && { why }) }));
    else print(`No node is running. Start one with \`mobula start\`.${why === undefined ? "" : `\nNote: ${why}.`}`);
    process.exitCode = 3;
    return;
  }
  const ask = asksNode(here);
  const [nodes, actors, waiting] = await Promise.all([
    ask("nodes", null),
    ask("list-actors", { namespace: null }),
    ask("waiting-demands", null),
  ]);
  const { pid, startedAtMs, cluster, limits } = here;
  const heads = cluster === undefined ? undefined : await ask("heads", null);
  if (json) {
    const where = heads && { cluster, heads };
    print(JSON.stringify({ running: true, pid, startedAtMs, limits, ...where, nodes, actors, waiting }));
    return;
  }
  const since = `pid ${pid}, since ${new Date(startedAtMs).toLocaleString("sv")}`;
  if (heads) {
    showCluster(heads, nodes, here.nodeId, columns);
    print(`* this machine, ${since}`);
  } else for (const node of nodes) for (const line of nodeLines(node, since)) print(line);
  for (const line of [...actorLines(actors), ...waitingLines(waiting, columns), ...limitsLines(limits, columns)])
    print(line);
}

function showCluster(
  { leader, standbys, state, refused = [] }: HeadsInfo,
  nodes: Parameters<typeof nodeTable>[0],
  here: string | undefined,
  columns: number,
) {
  const count = (state: string): number => nodes.filter((node) => node.state === state).length;
  const others = (["draining", "dead"] as const).filter((state) => count(state) > 0);
  const alive = `${count("alive")} node${count("alive") === 1 ? "" : "s"} alive`;
  print(`cluster at ${leader}: ${[alive, ...others.map((state) => `${count(state)} ${state}`)].join(", ")}`);
  if (state !== null) print(`standing by: ${standbys.join(", ") || "no other head"}; state in ${state}`);
  for (const line of olderNodes(nodes)) print(line);
  for (const { from, message } of refused) print(`refused in the last minute: ${from}: ${message}`);
  print("");
  for (const line of nodeTable(nodes, here, columns)) print(line);
  print("");
}

// `mobula status | head` has read enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});

if (process.argv.length <= 2) program.outputHelp();
else {
  program.parseAsync().catch((error: Error) => {
    process.stderr.write(`mobula: ${error.message}\n`);
    process.exitCode = 1;
  });
}
