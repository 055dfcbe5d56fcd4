/** `mobula timeline`: what ran when, as a file for Perfetto. */
import { createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Command } from "commander";
import { askApi, findApi } from "./api-client.ts";
import { print } from "./cli-print.ts";

const FILE = "mobula-timeline.json";
const ANSWER_MS = 120_000;

export function addTimeline(program: Command): void {
  program
    .command("timeline")
    .description("write what ran when into a file that https://ui.perfetto.dev and chrome://tracing open")
    .option("-o, --output <file>", "where to", FILE)
    .option("--job <id>", "only of this job")
    .option("--attempts <n>", "the newest so many (default: 100000)")
    .option("--address <address>", "of the cluster: host:port, or the http address (default: of this machine)")
    .addHelpText("after", "\nExamples:\n  $ mobula timeline\n  $ mobula timeline -o trace.json --job 09437394")
    .action(timeline);
}

async function timeline(options: {
  readonly output: string;
  readonly job?: string;
  readonly attempts?: string;
  readonly address?: string;
}): Promise<void> {
  const { output, job, attempts, address } = options;
  const params = new URLSearchParams({
    ...(job !== undefined && { job }),
    ...(attempts !== undefined && { attempts }),
  });
  const { body } = await askApi(await findApi(address), `/api/v1/timeline?${params}`, { timeoutMs: ANSWER_MS });
  if (!body) throw new Error("the state service sent nothing");
  await pipeline(Readable.fromWeb(body as never), createWriteStream(output));
  print(`${output}: open it at https://ui.perfetto.dev`);
}
