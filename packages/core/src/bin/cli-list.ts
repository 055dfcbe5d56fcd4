/** `mobula list` and `mobula get`: rows of the API as a table, JSON or YAML. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { stringify } from "yaml";
import { type Listed, ROW_KINDS, type Row, type RowKind, type TaskDetail } from "../state/mod.ts";
import { findApi, getJson } from "./api-client.ts";
import { print } from "./cli-print.ts";
import { attemptLines, tableOf } from "./row-table.ts";

type Format = "table" | "json" | "yaml";

interface ListOptions {
  readonly filter?: readonly string[];
  readonly sort?: string;
  readonly limit: number;
  readonly format: Format;
  readonly detail?: boolean;
  readonly address?: string;
}

const LIMIT = 100;
const KINDS = ROW_KINDS.join("|");

const formatOption = () =>
  new Option("--format <how>", "table, json or yaml").choices(["table", "json", "yaml"]).default("table");
const addressOption = () =>
  new Option("--address <address>", "of the cluster: host:port, or the http address (default: of this machine)");

export function addList(program: Command): void {
  program
    .command("list <kind>")
    .description(`list ${KINDS}`)
    .option("--filter <filter>", "key=value, key!=value, key~part, key<n, key>n; may be repeated", collect)
    .option("--sort <field>", "by this field; -field: the largest first; what has none comes last")
    .option("--limit <n>", "at most so many rows, up to 10000", limit, LIMIT)
    .addOption(formatOption())
    .option("--detail", "all that is known of each row, as YAML")
    .addOption(addressOption())
    .addHelpText(
      "after",
      `
Examples:
  $ mobula list nodes
  $ mobula list tasks --filter state=failed --limit 20
  $ mobula list tasks --sort -ranMs --limit 20
  $ mobula list actors --filter className=Counter --filter restarts>0
  $ mobula list tasks --filter state=running --filter 'ranMs>600000' --detail
  $ mobula list tasks --format json | jq -r '.rows[].error'`,
    )
    .action(list);
  program
    .command("get <kind> <id>")
    .description(`show one of ${KINDS} by its id`)
    .addOption(
      new Option("--format <how>", "json or yaml; without it the attempts of a task are a table").choices([
        "json",
        "yaml",
      ]),
    )
    .addOption(addressOption())
    .addHelpText(
      "after",
      "\nExamples:\n  $ mobula get actors 3fa0c81be2d4407f9c1d2e3a10000000\n  $ mobula get nodes 5f2c81c0a7be3d41c09f6ab15f2c81c0 --format json",
    )
    .action(get);
}

async function list(
  kind: string,
  { filter = [], sort, limit: count, format, detail, address }: ListOptions,
): Promise<void> {
  const known = kindOf(kind);
  const place = await findApi(address);
  const params = new URLSearchParams({ limit: String(count) });
  if (sort !== undefined) params.set("sort", sort);
  for (const one of filter) params.append("filter", one);
  const listed = await getJson<Listed<Row<RowKind>>>(place, `/api/v1/${known}?${params}`);
  if (format !== "table") {
    print(format === "json" ? JSON.stringify(listed, null, 2) : stringify(listed).trimEnd());
    return;
  }
  if (detail && listed.rows.length > 0) print(stringify(listed.rows).trimEnd());
  else for (const line of tableOf(known, listed.rows, process.stdout.columns ?? 80)) print(line);
  if (listed.total > listed.rows.length)
    print(`${listed.rows.length} of ${listed.total}; --limit shows more, --filter others`);
  for (const problem of listed.partial) process.stderr.write(`mobula: not everything is here: ${problem}\n`);
}

async function get(
  kind: string,
  id: string,
  { format, address }: { readonly format?: "json" | "yaml"; readonly address?: string },
): Promise<void> {
  const known = kindOf(kind);
  const row = await getJson(await findApi(address), `/api/v1/${known}/${encodeURIComponent(id)}`);
  if (format === "json") print(JSON.stringify(row, null, 2));
  else if (format === "yaml" || known !== "tasks") print(stringify(row).trimEnd());
  else {
    const { attempts, ...last } = row as TaskDetail; // Of the API of the same version.
    print(stringify(last).trimEnd());
    print("");
    for (const line of attemptLines(attempts, process.stdout.columns ?? 80)) print(line);
  }
}

/** Also in the singular, and with an underscore. @throws Error that names those that there are. */
function kindOf(text: string): RowKind {
  const kind = text.toLowerCase().replaceAll("_", "-");
  const found = ROW_KINDS.find((one) => one === kind || one === `${kind}s`);
  if (!found) throw new Error(`there is nothing called "${text}" to list; there are ${ROW_KINDS.join(", ")}`);
  return found;
}

const collect = (text: string, before: readonly string[] = []): readonly string[] => [...before, text];

function limit(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > 10_000)
    throw new InvalidArgumentError("It is a number from 1 to 10000.");
  return count;
}
