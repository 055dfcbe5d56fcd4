/** `mobula why`: why something waits, failed, or runs where it does. */
import type { Command } from "commander";
import type { Explanation } from "../wire/explanation.ts";
import { actorCalled } from "./actor-called.ts";
import { type Asks, whom } from "./cli-ask.ts";
import { print } from "./cli-print.ts";
import { whyLines } from "./why-text.ts";

interface WhyOptions {
  readonly json?: boolean;
  readonly address?: string;
}

export function addWhy(program: Command): void {
  program
    .command("why <id>")
    .description("say why a task, an actor, an object or a placement group waits, failed, or runs where it does")
    .option("--address <host:port>", "ask the head of this cluster (default: this machine's node, or MOBULA_ADDRESS)")
    .option("--json", "as JSON, for programs")
    .addHelpText(
      "after",
      `
The id is that of a ref (ref.id), of a task (runtimeContext().taskId), of an actor or a placement group; an actor may also be
named by its name or its class.

Examples:
  $ mobula why 5f2c81c0a7be3d41c09f6ab10000000000000017f3a10c5200000001
  $ mobula why counter
  $ MOBULA_TOKEN=... mobula why --address 10.0.0.1:6380 counter`,
    )
    .action(why);
}

async function why(id: string, { json = false, address }: WhyOptions): Promise<void> {
  const ask = whom(address);
  const explanation = await explain(ask, id.trim());
  if (json) print(JSON.stringify(explanation));
  else for (const line of whyLines(id, explanation, Date.now(), process.stdout.columns ?? 100)) print(line);
}

async function explain(ask: Asks, id: string): Promise<Explanation> {
  if (/^[0-9a-f]{24,}$/.test(id)) return ask("explain-id", { id });
  const found = await actorCalled(ask, id);
  if (!found) throw new Error(`"${id}" is no id, and no actor has that name or class`);
  return ask("explain-id", { id: found.actorId });
}
