/** `mobula logs`: what tasks, actors and jobs have written, also of processes that have ended. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { type ApiPlace, askApi, findApi } from "./api-client.ts";
import { print } from "./cli-print.ts";
import { sseEvents } from "./sse.ts";

interface LogsOptions {
  readonly follow?: true;
  readonly lines: number;
  readonly search?: string;
  readonly raw?: true;
  readonly format: string;
  readonly address?: string;
}

const LINES = 100;

export function addLogs(program: Command): void {
  program
    .command("logs <id>")
    .description("print what a task, an actor, a job or a process has written, also after it has ended")
    .option("-f, --follow", "go on with what comes, until Ctrl-C")
    .option("-n, --lines <n>", "the last so many lines, up to 10000", count, LINES)
    .option("--search <text>", "only lines that contain this")
    .option("--raw", "as the files have them: time, job, process, stream, task, actor, name, text")
    .addOption(
      new Option("--format <format>", "json: each line as an object, with node, worker, job, task and actor")
        .choices(["text", "json"])
        .default("text"),
    )
    .option("--address <address>", "of the cluster: host:port, or the http address (default: of this machine)")
    .addHelpText(
      "after",
      `
The id is that of a task, an actor or a job, a process as pid:123, an actor's name or class, or a file that \`mobula list logs\` names.

Examples:
  $ mobula logs counter -f
  $ mobula logs pid:4711 --lines 1000 --search Error
  $ mobula logs counter -f --format json | jq 'select(.stream == "stderr") | .message'
  $ mobula logs 5f2c81c0a7be3d41c09f6ab10000000000000017f3a10c52`,
    )
    .action(logs);
}

async function logs(id: string, { follow, lines, search, raw, format, address }: LogsOptions): Promise<void> {
  const isJson = format === "json";
  if (isJson && raw) throw new Error("--raw is the text of the files: it goes without --format json");
  const place = await findApi(address);
  const logId = await idOf(place, id);
  const params = new URLSearchParams({ lines: String(lines), format, ...(search !== undefined && { search }) });
  const path = `/api/v1/logs/${encodeURIComponent(logId)}`;
  const show = (line: string): void => print(raw || isJson ? line : shortLine(line));
  if (!follow) {
    const text = await (await askApi(place, `${path}/lines?${params}`)).text();
    for (const line of text.split("\n")) if (line !== "") show(line);
    return;
  }
  for await (const { event, data } of sseEvents(place, `${path}/follow?${params}`))
    if (event === "lines") {
      const all = JSON.parse(data) as readonly unknown[]; // Lines, or objects.
      for (const one of all) show(typeof one === "string" ? one : JSON.stringify(one));
    }
}

/** Names and classes of actors stand for their ids. @throws Error when several have it. */
async function idOf(place: ApiPlace, id: string): Promise<string> {
  if (/^[0-9a-f]{8,64}$|:/.test(id)) return id;
  if (/^\d+$/.test(id)) return `pid:${id}`;
  for (const key of ["name", "className"]) {
    const params = new URLSearchParams({ filter: `${key}=${id}`, limit: "2" });
    const response = await askApi(place, `/api/v1/actors?${params}`);
    const { rows } = (await response.json()) as { readonly rows: readonly { readonly actorId: string }[] };
    if (rows.length > 1)
      throw new Error(`several actors are called "${id}": \`mobula list actors --filter ${key}=${id}\` says their ids`);
    if (rows[0]) return rows[0].actorId;
  }
  throw new Error(`"${id}" is no id, and no actor has that name or class; \`mobula list logs\` lists files`);
}

/** `time name pid: text` of what node/logs.ts writes. */
function shortLine(line: string): string {
  const match = /^(\S+T(\d\d:\d\d:\d\d\.\d{3})Z) \S+ (\d+) (stdout|stderr) (?:[0-9a-f]{32,} )*(.*?): (.*)$/.exec(line);
  if (!match) return line;
  const [, , time, pid, , name, text] = match;
  return `${time} (${name === "-" ? "" : `${name} `}pid=${pid}) ${text}`;
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 10_000)
    throw new InvalidArgumentError("It is a number from 1 to 10000.");
  return value;
}
