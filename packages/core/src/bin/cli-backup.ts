/** `mobula backup` and `mobula restore`: what a cluster has written down, as a file, and back. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { isReplicated } from "../control/mod.ts";
import {
  defaultStateFolder,
  findStandingHead,
  type HeadAddress,
  restoreFolder,
  restoreReplicated,
  takeBackup,
} from "../head/mod.ts";
import { readTokens } from "../transport/mod.ts";
import { headOfEnvironment } from "./cli-ask.ts";
import { stateOption } from "./cli-cluster.ts";
import { print } from "./cli-print.ts";

export function addBackup(program: Command): void {
  program
    .command("backup <file>")
    .description("write what a cluster's head has written down to a file, while everything runs")
    .addHelpText(
      "after",
      "\nThe head of this machine, or that of MOBULA_ADDRESS with MOBULA_TOKEN, is asked. The file is readable by you only.\n" +
        "\nExamples:\n  $ mobula backup cluster.backup",
    )
    .action(backup);
  program
    .command("restore <file>")
    .description("put a backup back, while no head of the cluster runs; start the head after it")
    .option("--state <folder or servers>", "where the state is to be, as for `mobula start --head`", stateOption)
    .option("--replace", "in the place of what is there; a file that is replaced is kept under another name")
    .addHelpText(
      "after",
      "\nExamples:\n  $ mobula restore cluster.backup\n" +
        "  $ mobula restore cluster.backup --state nats://a:4222,b:4222,c:4222/cluster",
    )
    .action(restore);
}

async function backup(file: string): Promise<void> {
  const path = resolve(file);
  const entries = await takeBackup(headOfEnvironment() ?? headHere(), path);
  print(`${path} holds the ${entries} entries that the cluster has written down now.`);
}

function headHere(): HeadAddress {
  const head = findStandingHead();
  if (!head) {
    throw new Error("no head runs on this machine; set MOBULA_ADDRESS and MOBULA_TOKEN to those of a cluster");
  }
  const { address, tokenFile, tls } = head;
  return { address, token: readTokens(tokenFile)[0], tls };
}

interface RestoreChoice {
  readonly state?: string;
  readonly replace?: true;
}

async function restore(file: string, options: RestoreChoice): Promise<void> {
  const path = resolve(file);
  const { state = process.env.MOBULA_STATE || defaultStateFolder(), replace = false } = options;
  const { entries, replaced } = isReplicated(state)
    ? await restoreReplicated(state, path, { replace })
    : await restoreFolder(resolve(state), path, { replace });
  print(`The cluster's state holds the ${entries} entries of ${path}.`);
  if (replaced !== undefined) print(`What was there is in ${replaced}.`);
  print("Start its head as before, with the same token: `mobula start --head`.");
}
