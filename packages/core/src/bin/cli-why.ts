/** `mobula why`: why something waits, failed, or runs where it does. */
import type { Command } from "commander";
import type { Explanation } from "../wire/explanation.ts";
import { actorCalled } from "./actor-called.ts";
import { ApiError, askApi, findApi } from "./api-client.ts";
import { whom } from "./cli-ask.ts";
import { print } from "./cli-print.ts";
import { whyLines } from "./why-text.ts";

interface WhyOptions {
  readonly json?: boolean;
  readonly address?: string;
}

export function addWhy(program: Command): void {
  program
    .command("why <id>")
    .description("say why a task, an actor, an object, a placement group or a job waits, failed, or runs where it does")
    .option("--address <host:port>", "ask the head of this cluster (default: this machine's node, or MOBULA_ADDRESS)")
    .option("--json", "as JSON, for programs")
    .addHelpText(
      "after",
      `
The id is that of a ref (ref.id), of a task (runtimeContext().taskId), of an actor or a placement group; an actor may also be
named by its name or its class, and a job by the id of its submission.

Examples:
  $ mobula why 5f2c81c0a7be3d41c09f6ab10000000000000017f3a10c5200000001
  $ mobula why counter
  $ MOBULA_TOKEN=... mobula why --address 10.0.0.1:6380 counter`,
    )
    .action(why);
}

async function why(id: string, { json = false, address }: WhyOptions): Promise<void> {
  const explanation = await explain(address, id.trim());
  if (json) print(JSON.stringify(explanation));
  else for (const line of whyLines(id, explanation, Date.now(), process.stdout.columns ?? 100)) print(line);
}

/** Of the state service, which knows jobs, alarms and what has ended too; where there is none, of control. */
async function explain(address: string | undefined, id: string): Promise<Explanation> {
  const isHttp = /^https?:/.test(address ?? process.env.MOBULA_ADDRESS ?? "");
  let unreachable: Error;
  try {
    const answer = await askApi(await findApi(address), `/api/v1/why/${encodeURIComponent(id)}`);
    return (await answer.json()) as Explanation; // Of the API of the same version.
  } catch (error) {
    if (isHttp || error instanceof ApiError) throw error;
    unreachable = error as Error;
  }
  const ask = whom(address);
  if (/^[0-9a-f]{24,}$/.test(id)) return ask("explain-id", { id });
  const found = await actorCalled(ask, id);
  if (found) return ask("explain-id", { id: found.actorId });
  const cause = unreachable;
  throw new Error(`"${id}" is no id, and no actor has that name or class; of jobs nobody knows here`, { cause });
}
