/** What a person typed. */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { UsageError } from "./files.ts";

export const HELP = `Finds near-duplicate files: those that share at least 80 % of their runs of five words.

  node examples/near-duplicates/main.ts [FOLDER] [options]

  FOLDER      where to look, folders in it included (default: the installed node_modules)
  --baseline  run the same algorithm in one process only
  --chaos     kill workers with SIGKILL while it runs; the result must be the same
  --limit N   read at most N files
  --json      print everything as JSON
  --help      print this`;

export interface Command {
  readonly folder: string;
  readonly baselineOnly: boolean;
  readonly withChaos: boolean;
  readonly filesMax: number;
  readonly asJson: boolean;
  readonly help: boolean;
}

/** @throws UsageError for what it does not understand. */
export function readCommand(args: readonly string[]): Command {
  const { values, positionals } = parse(args);
  const [folder = join(import.meta.dirname, "../../node_modules"), ...more] = positionals;
  if (more.length > 0) throw new UsageError(`one folder can be given, not ${positionals.length} (see --help)`);
  if (values.baseline === true && values.chaos === true) {
    throw new UsageError("--baseline starts no workers, so --chaos has none to kill (see --help)");
  }
  return {
    folder,
    baselineOnly: values.baseline === true,
    withChaos: values.chaos === true,
    filesMax: readLimit(values.limit),
    asJson: values.json === true,
    help: values.help === true,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        baseline: { type: "boolean" },
        chaos: { type: "boolean" },
        limit: { type: "string" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    // Its first sentence names the option; the rest is advice for names that begin with a dash.
    const [sentence = ""] = (error instanceof Error ? error.message : String(error)).split(/\.\s/);
    throw new UsageError(`${sentence.replace(/\.$/, "")} (see --help)`);
  }
}

function readLimit(text: string | undefined): number {
  if (text === undefined) return Number.POSITIVE_INFINITY;
  const limit = Number(text);
  if (!Number.isInteger(limit) || limit < 1)
    throw new UsageError(`--limit is ${text}; it must be a whole number of at least 1`);
  return limit;
}
