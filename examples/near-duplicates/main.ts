/** Finds near-duplicate files on all CPUs, beside the same algorithm in one process. See README.md. */
import { progressBar } from "mobula";
import { type Outcome, runBaseline } from "./baseline.ts";
import { HELP, readCommand } from "./command-line.ts";
import { killWorkers, runDistributed } from "./distributed.ts";
import { type Listing, listFiles, UsageError } from "./files.ts";
import { agree, asData, asIntroduction, asText, type Results } from "./report.ts";

const THRESHOLD = 0.8;

async function main(): Promise<void> {
  const command = readCommand(process.argv.slice(2));
  if (command.help) {
    console.log(HELP);
    return;
  }
  const listing = listFiles(command.folder, command.filesMax);
  const withProgress = !command.asJson;
  if (withProgress) console.error(asIntroduction(listing, command.baselineOnly));
  const distributed = command.baselineOnly
    ? undefined
    : await runDistributed(listing, {
        threshold: THRESHOLD,
        chaos: command.withChaos ? killWorkers() : undefined,
        withProgress,
      });
  const baseline = baselineWithProgress(listing, withProgress);
  const results: Results = {
    listing,
    threshold: THRESHOLD,
    baseline,
    ...(distributed === undefined ? {} : { distributed }),
  };
  console.log(command.asJson ? JSON.stringify(asData(results), undefined, 2) : asText(results));
  if (agree(results) === false) {
    console.error("near-duplicates: the two runs found different groups; did files change meanwhile?");
    process.exitCode = 1;
  }
}

function baselineWithProgress(listing: Listing, withProgress: boolean): Outcome {
  using bar = withProgress ? progressBar(listing.files.length, "one process") : undefined;
  return runBaseline(listing, THRESHOLD, (files) => bar?.add(files));
}

try {
  await main();
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`near-duplicates: ${error.message}`);
  process.exitCode = 1;
}
