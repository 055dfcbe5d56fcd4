/** `mobula top`: what happens now, anew each second, on a terminal; once where there is none. */
import type { Command } from "commander";
import type { Listed, Overview, Progress, Row } from "../state/mod.ts";
import { type ApiPlace, findApi, getJson } from "./api-client.ts";
import { print } from "./cli-print.ts";
import { sseEvents } from "./sse.ts";
import { type Seen, topLines } from "./top-text.ts";

const CLEAR = "\u001b[H\u001b[J";
const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";
/** Ctrl-C, Escape; a terminal in raw mode sends no signal. */
const QUIT = ["q", "\u0003", "\u001b"];
const ROWS = 24;
const COLUMNS = 80;
/** The newest ones are asked for the bars of their programs. */
const JOBS_WITH_BARS = 10;

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
    const seen = await look(place, await getJson<Overview>(place, "/api/v1/overview"));
    const size = { columns: stdout.columns ?? COLUMNS, rows: Number.POSITIVE_INFINITY };
    for (const line of topLines(seen, size)) print(line);
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
      const lines = overview ? topLines(await look(place, overview), size) : problem;
      stdout.write(CLEAR + lines.slice(0, size.rows - 1).join("\n"));
    }
  } catch (error) {
    stdout.write(LEAVE);
    throw error;
  }
  leave();
}

/** What the overview does not say. */
async function look(place: ApiPlace, overview: Overview): Promise<Seen> {
  const [workers, nodes, bars] = await Promise.all([
    getJson<Listed<Row<"workers">>>(place, "/api/v1/workers?limit=1000"),
    overview.gpus === null ? { rows: [] } : getJson<Listed<Row<"nodes">>>(place, "/api/v1/nodes?limit=1000"),
    openBars(place),
  ]);
  return { overview, workers: workers.rows, nodes: nodes.rows, bars };
}

async function openBars(place: ApiPlace): Promise<Seen["bars"]> {
  const { rows } = await getJson<Listed<Row<"jobs">>>(
    place,
    `/api/v1/jobs?filter=status=running&limit=${JOBS_WITH_BARS}`,
  );
  const jobs = rows.flatMap(({ jobId }) => jobId ?? []);
  const told = await Promise.all(jobs.map((job) => getJson<Progress>(place, `/api/v1/progress?job=${job}`)));
  return told.flatMap(({ bars }) => bars.filter(({ isClosed }) => !isClosed));
}
