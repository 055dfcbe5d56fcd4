/** `mobula job`: jobs that were submitted. */
import { setTimeout as delay } from "node:timers/promises";
import { type Command, Option } from "commander";
import { stringify } from "yaml";
import type { Listed, Row } from "../state/mod.ts";
import { type ApiPlace, askApi, findApi, getJson } from "./api-client.ts";
import { followJob, jobOf, jobPath, lastWords } from "./cli-follow.ts";
import { print } from "./cli-print.ts";
import { tableOf } from "./row-table.ts";

type JobRow = Row<"jobs">;
interface Where {
  readonly address?: string;
}

const NOT_FOUND = 3;
const LOOK_MS = 200;
const addressOption = () =>
  new Option("--address <address>", "of the cluster: host:port, or the http address (default: of this machine)");

export function addJob(program: Command): void {
  const job = program
    .command("job")
    .description("list, follow, stop and delete submitted jobs")
    .addHelpText(
      "after",
      `
\`mobula submit\` submits one. An id is that of the submission, or of the job that its driver is. Exits with 3 when there is none.

Examples:
  $ mobula job list
  $ mobula job logs -f job_cWn3uXq5V1kTzYhB
  $ mobula job stop job_cWn3uXq5V1kTzYhB`,
    );
  job
    .command("list")
    .description("list jobs, the newest first")
    .option("--status <status>", "only pending, running, stopped, succeeded or failed ones")
    .option("--json", "as JSON, for programs")
    .addOption(addressOption())
    .action(list);
  job
    .command("status <id>")
    .description("show one job, and why it waits or failed")
    .option("--json", "as JSON, for programs")
    .addOption(addressOption())
    .action((id: string, options: Where & { readonly json?: true }) =>
      about(id, options, async (place) => {
        const row = await jobOf(place, id);
        print(options.json ? JSON.stringify(row) : stringify(row).trimEnd());
      }),
    );
  job
    .command("logs <id>")
    .description("print what it has printed")
    .option("-f, --follow", "and what it will, until it has ended")
    .addOption(addressOption())
    .action((id: string, options: Where & { readonly follow?: true }) =>
      about(id, options, async (place) => {
        if (options.follow) {
          const words = lastWords(await followJob(place, id, () => findApi(options.address)));
          if (words !== undefined) process.stderr.write(`${words}\n`);
        } else process.stdout.write(await (await askApi(place, `${jobPath(id)}/logs`)).text());
      }),
    );
  job
    .command("stop <id>")
    .description("end it: SIGTERM, and 3 s later SIGKILL, to all that it has started")
    .option("--no-wait", "do not wait until it has ended")
    .addOption(addressOption())
    .action((id: string, options: Where & { readonly wait: boolean }) =>
      about(id, options, (place) => stop(place, id, options)),
    );
  job
    .command("delete <id>")
    .description("forget one that has ended, and what it printed")
    .addOption(addressOption())
    .action((id: string, options: Where) =>
      about(id, options, async (place) => {
        await askApi(place, jobPath(id), { method: "DELETE" });
        print(`Job ${id} is deleted.`);
      }),
    );
}

async function list({
  status,
  json,
  address,
}: Where & { readonly status?: string; readonly json?: true }): Promise<void> {
  const params = new URLSearchParams({ filter: "kind=submission", limit: "10000" });
  if (status !== undefined) params.append("filter", `status=${status}`);
  const listed = await getJson<Listed<JobRow>>(await findApi(address), `/api/v1/jobs?${params}`);
  if (json) print(JSON.stringify(listed.rows));
  else if (listed.rows.length === 0) print("No job was submitted.");
  else for (const line of tableOf("jobs", listed.rows, process.stdout.columns ?? 80)) print(line);
}

async function stop(place: ApiPlace, id: string, { wait }: { readonly wait: boolean }): Promise<void> {
  const { stopped } = (await (await askApi(place, `${jobPath(id)}/stop`, { method: "POST" })).json()) as {
    readonly stopped: boolean;
  };
  if (!stopped) print(`Job ${id} had ended before.`);
  else if (!wait) print(`Job ${id} is to end.`);
  else {
    let job = await jobOf(place, id);
    for (; job.endedAtMs === null; job = await jobOf(place, id)) await delay(LOOK_MS);
    print(`Job ${id} has ended: ${job.status}.`);
  }
}

async function about(_id: string, { address }: Where, act: (place: ApiPlace) => Promise<void>): Promise<void> {
  try {
    await act(await findApi(address));
  } catch (error) {
    if ((error as { readonly status?: number }).status !== 404) throw error;
    process.stderr.write(`mobula: ${(error as Error).message}\n`);
    process.exitCode = NOT_FOUND;
  }
}
