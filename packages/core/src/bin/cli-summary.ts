/** `mobula summary` and `mobula memory`: how many there are of what, and who fills the object store. */
import type { Command } from "commander";
import type { Listed, Row } from "../state/mod.ts";
import { findApi, getJson } from "./api-client.ts";
import { print } from "./cli-print.ts";
import { bytesText, durationText } from "./row-table.ts";
import { table } from "./text-table.ts";

interface Options {
  readonly json?: true;
  readonly address?: string;
}

interface TaskSummary {
  readonly name: string;
  readonly counts: Readonly<Record<string, number>>;
  readonly meanRunMs: number | null;
  readonly p95RunMs: number | null;
}
interface ActorSummary {
  readonly className: string;
  readonly counts: Readonly<Record<string, number>>;
}
interface ObjectSummary {
  readonly callSite: string;
  readonly objects: number;
  readonly sizeBytes: number;
  readonly spilledBytes: number;
}
type Summary<R> = { readonly rows: readonly R[] };

const KINDS = ["tasks", "actors", "objects"] as const;
const ADDRESS = "of the cluster: host:port, or the http address (default: of this machine)";

export function addSummary(program: Command): void {
  program
    .command("summary <kind>")
    .description("count tasks by function, actors by class, or objects by the place that made them")
    .option("--json", "as JSON, for programs")
    .option("--address <address>", ADDRESS)
    .addHelpText("after", "\nExamples:\n  $ mobula summary tasks\n  $ mobula summary objects --json")
    .action(summary);
  program
    .command("memory")
    .description("say what fills the object stores: by node, and by the place in the program")
    .option("--json", "as JSON, for programs")
    .option("--address <address>", ADDRESS)
    .addHelpText("after", "\nExamples:\n  $ mobula memory\n  $ mobula list objects --filter sizeBytes>100000000")
    .action(memory);
}

async function summary(kind: string, { json, address }: Options): Promise<void> {
  const known = KINDS.find((one) => one === kind || one === `${kind}s`);
  if (!known) throw new Error(`there is no summary of "${kind}"; there are ${KINDS.join(", ")}`);
  const found = await getJson<Summary<unknown>>(await findApi(address), `/api/v1/summary/${known}`);
  if (json) print(JSON.stringify(found, null, 2));
  else for (const line of SHOWN[known](found)) print(line);
}

const SHOWN: { readonly [K in (typeof KINDS)[number]]: (found: Summary<unknown>) => readonly string[] } = {
  tasks: (found) => {
    const { rows } = found as Summary<TaskSummary>;
    const body = rows.map(({ name, counts, meanRunMs, p95RunMs }) => [
      name,
      durationText(meanRunMs),
      durationText(p95RunMs),
      countsText(counts),
    ]);
    return orNone("tasks", [["FUNCTION", "MEAN", "P95", "STATES"], ...body]);
  },
  actors: (found) => {
    const { rows } = found as Summary<ActorSummary>;
    return orNone("actors", [
      ["CLASS", "STATES"],
      ...rows.map(({ className, counts }) => [className, countsText(counts)]),
    ]);
  },
  objects: (found) => {
    const { rows } = found as Summary<ObjectSummary>;
    const body = rows.map(({ callSite, objects, sizeBytes, spilledBytes }) => [
      bytesText(sizeBytes),
      String(objects),
      spilledBytes === 0 ? "" : bytesText(spilledBytes),
      callSite,
    ]);
    return orNone("stored objects", [["BYTES", "OBJECTS", "ON DISK", "CALL SITE"], ...body]);
  },
};

async function memory({ json, address }: Options): Promise<void> {
  const place = await findApi(address);
  const [nodes, objects] = await Promise.all([
    getJson<Listed<Row<"nodes">>>(place, "/api/v1/nodes?limit=10000"),
    getJson<Summary<ObjectSummary>>(place, "/api/v1/summary/objects"),
  ]);
  if (json) {
    print(JSON.stringify({ nodes: nodes.rows, objects: objects.rows }, null, 2));
    return;
  }
  const body = nodes.rows.map(
    ({ name, storeUsedBytes, storeCapacityBytes, storeSpilledBytes, memoryUsedBytes, memoryTotalBytes }) => [
      name,
      `${bytesText(storeUsedBytes)} of ${bytesText(storeCapacityBytes)}`,
      storeSpilledBytes === 0 ? "" : bytesText(storeSpilledBytes),
      memoryUsedBytes === null ? "" : `${bytesText(memoryUsedBytes)} of ${bytesText(memoryTotalBytes)}`,
    ],
  );
  for (const line of orNone("nodes", [["NODE", "OBJECT STORE", "ON DISK", "MEMORY OF THE MACHINE"], ...body]))
    print(line);
  print("");
  for (const line of SHOWN.objects(objects)) print(line);
}

const orNone = (what: string, rows: readonly (readonly string[])[]): readonly string[] =>
  rows.length === 1 ? [`no ${what}`] : table(rows, process.stdout.columns ?? 80);

const countsText = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${count} ${state}`)
    .join(", ");
