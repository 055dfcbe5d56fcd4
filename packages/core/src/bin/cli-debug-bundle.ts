/** `mobula debug-bundle`: what a maintainer asks for first, in one folder or file, without secrets. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import { type ApiPlace, askApi, findApi } from "./api-client.ts";
import { print } from "./cli-print.ts";
import { type Finding, MACHINE_CHECKS } from "./doctor-checks.ts";
import { withoutSecrets } from "./secrets.ts";

const LISTS = ["nodes", "workers", "actors", "jobs", "placement-groups", "events", "logs"] as const;
const LOG_LINES = 2_000;
const LOGS_MAX = 40;

export function addDebugBundle(program: Command): void {
  program
    .command("debug-bundle")
    .description("write what runs, what happened, logs and this machine's checks into one file, without tokens")
    .option("-o, --output <file>", "where to", `mobula-debug-${new Date().toISOString().slice(0, 10)}.tar.gz`)
    .option("--address <address>", "of the cluster: host:port, or the http address (default: of this machine)")
    .addHelpText(
      "after",
      "\nLook through it before you pass it on: logs hold what programs have printed.\n\nExamples:\n  $ mobula debug-bundle\n  $ mobula debug-bundle -o /tmp/bundle.tar.gz",
    )
    .action(bundle);
}

async function bundle({ output, address }: { readonly output: string; readonly address?: string }): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "mobula-debug-"));
  const inside = join(folder, basename(output).replace(/\.tar\.gz$/, ""));
  mkdirSync(join(inside, "logs"), { recursive: true });
  try {
    const findings: Finding[] = [];
    for (const check of MACHINE_CHECKS) findings.push(await check());
    const problems: string[] = [];
    const place = await findApi(address).catch((error: Error) => void problems.push(error.message));
    if (place) await gather(place, inside, problems);
    const secrets = place ? [place.token] : [];
    const write = (name: string, text: string): void =>
      writeFileSync(join(inside, name), withoutSecrets(text, secrets));
    write("doctor.json", JSON.stringify(findings, null, 2));
    write(
      "machine.json",
      JSON.stringify(
        { versions: process.versions, platform: process.platform, arch: process.arch, uptime: process.uptime() },
        null,
        2,
      ),
    );
    write("problems.txt", problems.map((line) => `${line}\n`).join(""));
    execFileSync("tar", ["-czf", resolve(output), "-C", dirname(inside), basename(inside)]);
    print(`${output}: look through it before you pass it on`);
    for (const problem of problems) process.stderr.write(`mobula: not everything is in it: ${problem}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What cannot be had is named, and the rest is written all the same. */
async function gather(place: ApiPlace, folder: string, problems: string[]): Promise<void> {
  const write = async (name: string, path: string): Promise<string | undefined> => {
    try {
      const text = withoutSecrets(await (await askApi(place, path)).text(), [place.token]);
      writeFileSync(join(folder, name), text);
      return text;
    } catch (error) {
      problems.push(`${name}: ${(error as Error).message}`);
      return undefined;
    }
  };
  await write("overview.json", "/api/v1/overview");
  await write("tasks-failed.json", "/api/v1/tasks?filter=state=failed&limit=1000");
  for (const kind of ["tasks", "actors", "objects"]) await write(`summary-${kind}.json`, `/api/v1/summary/${kind}`);
  await write("metrics.txt", "/metrics");
  let logs: string | undefined;
  for (const kind of LISTS) {
    const text = await write(`${kind}.json`, `/api/v1/${kind}?limit=10000`);
    if (kind === "logs") logs = text;
  }
  const { rows = [] } = JSON.parse(logs ?? "{}") as { readonly rows?: readonly { readonly logId: string }[] };
  for (const { logId } of rows.slice(0, LOGS_MAX))
    await write(
      `logs/${logId.replace(":", "-")}`,
      `/api/v1/logs/${encodeURIComponent(logId)}/lines?lines=${LOG_LINES}`,
    );
}
