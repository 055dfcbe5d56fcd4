/** `mobula quota`: what a job may use at once in the whole cluster. */
import { type Command, InvalidArgumentError } from "commander";
import type { JobId } from "../base/ids.ts";
import type { Resources } from "../base/resources.ts";
import { byTool, whom } from "./cli-ask.ts";
import { amount, bytes } from "./cli-options.ts";
import { print } from "./cli-print.ts";

interface QuotaOptions {
  readonly none?: boolean;
  readonly address?: string;
}

export function addQuota(program: Command): void {
  program
    .command("quota <job> [amounts...]")
    .description("limit what a job may use at once in the whole cluster; without amounts, show its limit")
    .option("--none", "let what the job has asked for itself count again")
    .option("--address <host:port>", "ask the head of this cluster (default: this machine's node, or MOBULA_ADDRESS)")
    .addHelpText(
      "after",
      `
What runs is not ended: it goes on, and what goes beyond the limit is not begun. \`mobula status\` shows jobs that wait.

Examples:
  $ mobula quota bf0b68da cpu=16 gpu=4 memory=64GiB
  $ mobula quota bf0b68da
  $ mobula quota bf0b68da --none`,
    )
    .action(quota);
}

async function quota(job: string, amounts: readonly string[], { none = false, address }: QuotaOptions): Promise<void> {
  if (none && amounts.length > 0) throw new InvalidArgumentError("--none takes no amounts");
  const ask = whom(address);
  const isChange = none || amounts.length > 0;
  const now = isChange
    ? await ask("set-quota", { job: job as JobId, quota: none ? null : amountsOf(amounts), ...byTool("mobula quota") })
    : await ask("quota", { job: job as JobId });
  const words = Object.entries(now ?? {}).map(([name, value]) => `${name}=${value}`);
  print(words.length === 0 ? `Job ${job} has no quota.` : `Job ${job} may use ${words.join(" ")} at once.`);
}

function amountsOf(texts: readonly string[]): Resources {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf("=");
      const given = text.slice(0, Math.max(0, at)).trim();
      // As people write them; resources of one's own keep their case.
      const name = /^(cpu|gpu|memory)$/i.test(given) ? given.toLowerCase() : given;
      if (name === "") throw new Error(`"${text}" is no amount; it must be name=amount, such as cpu=16`);
      return [name, name === "memory" ? bytes(text.slice(at + 1)) : amount(text.slice(at + 1))];
    }),
  );
}
