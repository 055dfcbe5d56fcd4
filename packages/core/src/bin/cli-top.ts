/** `mobula top`: what happens now, anew each second, on a terminal; once where there is none. */
import type { Command } from "commander";
import type { Listed, Overview, Row } from "../state/mod.ts";
import { type ApiPlace, askApi, findApi } from "./api-client.ts";
import { print } from "./cli-print.ts";
import { sseEvents } from "./sse.ts";
import { topLines } from "./top-text.ts";

const CLEAR = "\u001b[H\u001b[J";
const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";
/** Ctrl-C, Escape; a terminal in raw mode sends no signal. */
const QUIT = ["q", "\u0003", "\u001b"];
const ROWS = 24;
const COLUMNS = 80;

export function addTop(program: Command): void {
  program
    .command("top")
    .description("show what runs, what waits and why, and who uses what, each second; q or Ctrl-C ends it")
    .option("--once", "print it once")
    .option("--address <address>", "of the cluster: host:port, or the http address (default: of this machine)")
    .addHelpText("after", "\nExamples:\n  $ mobula top\n  $ mobula top --once | head -20")
    .action(top);
}

async function top({ once = false, address }: { readonly once?: boolean; readonly address?: string }): Promise<void> {
  const place = await findApi(address);
  const { stdout, stdin } = process;
  if (once || !stdout.isTTY) {
    const overview = (await (await askApi(place, "/api/v1/overview")).json()) as Overview; // Of the same version.
    for (const line of topLines(
      overview,
      await workersOf(place),
      {
        columns: stdout.columns ?? COLUMNS,
        rows: Number.POSITIVE_INFINITY,
      },
      await nodesWithGpus(place, overview),
    ))
      print(line);
    return;
  }
  const leave = (): void => {
    stdout.write(LEAVE);
    process.exit();
  };
  stdout.write(ENTER);
  process.once("SIGINT", leave);
  process.once("SIGTERM", leave);
  if (stdin.isTTY) {
    stdin.setRawMode(true).resume();
    stdin.on("data", (keys: Buffer) => {
      if (QUIT.some((key) => keys.includes(key))) leave();
    });
  }
  try {
    for await (const { event, data } of sseEvents(place, "/api/v1/stream?topics=overview")) {
      const size = { columns: stdout.columns ?? COLUMNS, rows: stdout.rows ?? ROWS };
      const problem = event === "problem" ? [(JSON.parse(data) as { readonly message: string }).message] : [];
      const overview = event === "overview" ? (JSON.parse(data) as Overview) : undefined;
      const lines = overview
        ? topLines(overview, await workersOf(place), size, await nodesWithGpus(place, overview))
        : problem;
      stdout.write(CLEAR + lines.slice(0, size.rows - 1).join("\n"));
    }
  } catch (error) {
    stdout.write(LEAVE);
    throw error;
  }
  leave();
}

async function workersOf(place: ApiPlace): Promise<readonly Row<"workers">[]> {
  const response = await askApi(place, "/api/v1/workers?limit=1000");
  return ((await response.json()) as Listed<Row<"workers">>).rows; // Of the API of the same version.
}

async function nodesWithGpus(place: ApiPlace, { gpus }: Overview): Promise<readonly Row<"nodes">[]> {
  if (gpus === null) return [];
  const response = await askApi(place, "/api/v1/nodes?limit=1000");
  return ((await response.json()) as Listed<Row<"nodes">>).rows; // As above.
}
