/** Objects of all nodes as rows: one that several nodes have a copy of is one row. */
import { wallMs } from "../base/clock.ts";
import { type JobId, type ObjectKey, objectIdHex, objectKeyOwner, objectKeySeq } from "../base/ids.ts";
import type { ObjectDetails, Queries } from "../wire/queries.ts";
import { Cached } from "./cached.ts";
import type { Links } from "./links.ts";
import type { ObjectRow, ObjectSummaryRow } from "./rows.ts";
import type { Gathered } from "./sources.ts";

type Answers = readonly (readonly [nodeId: string, Queries["object-details"]["result"]])[];

/** Of each node. */
const ASKED_MAX = 10_000;
const FRESH_MS = 500;

export class ObjectRows {
  private readonly answers: Cached<{ readonly answers: Answers; readonly partial: readonly string[] }>;

  constructor(links: Pick<Links, "askAll">) {
    this.answers = new Cached(FRESH_MS, () => links.askAll("object-details", { limit: ASKED_MAX }));
  }

  async rows(): Promise<Gathered<ObjectRow>> {
    const { answers, partial } = await this.answers.get();
    const cut = answers.flatMap(([nodeId, { total, objects }]) =>
      total > objects.length ? `node ${nodeId}: ${total - objects.length} of ${total} objects are not listed` : [],
    );
    return { rows: mergeObjects(answers), partial: [...partial, ...cut], asOfMs: wallMs() };
  }

  /** All of them, also those that are too many to be listed. */
  async summary(): Promise<{ readonly rows: readonly ObjectSummaryRow[]; readonly partial: readonly string[] }> {
    const { answers, partial } = await this.answers.get();
    const sums = new Map<string, ObjectSummaryRow>();
    for (const [, { sites }] of answers)
      for (const { callSite, objects, sizeBytes, spilledBytes, holders } of sites) {
        const sum = sums.get(callSite) ?? { callSite, objects: 0, sizeBytes: 0, spilledBytes: 0, holders: 0 };
        sums.set(callSite, {
          callSite,
          objects: sum.objects + objects,
          sizeBytes: sum.sizeBytes + sizeBytes,
          spilledBytes: sum.spilledBytes + spilledBytes,
          holders: sum.holders + holders,
        });
      }
    return { rows: [...sums.values()].sort((a, b) => b.sizeBytes - a.sizeBytes), partial };
  }
}

/** The largest first. */
function mergeObjects(answers: Answers): readonly ObjectRow[] {
  const rows = new Map<string, { row: ObjectRow; nodes: string[] }>();
  for (const [nodeId, { objects }] of answers)
    for (const object of objects) {
      const name = object.stored ?? object.key ?? "";
      const known = rows.get(name);
      const isHere = object.place !== "owner";
      if (!known) {
        const nodes = isHere ? [nodeId] : [];
        rows.set(name, { row: rowOf(object, nodeId, nodes), nodes });
        continue;
      }
      if (isHere) known.nodes.push(nodeId);
      // Its owner's node knows its id, and who holds it; a copy elsewhere only who reads that.
      if (object.key !== null || (object.isOwnedHere && !object.isCopy)) {
        const { callSite, sizeBytes, createdAtMs } = known.row;
        const whole = {
          ...object,
          callSite: object.callSite ?? callSite,
          sizeBytes: object.sizeBytes ?? sizeBytes,
          ...(object.createdAtMs === undefined && createdAtMs !== null && { createdAtMs }),
        };
        known.row = rowOf(whole, nodeId, known.nodes);
      }
    }
  return [...rows.values()].map(({ row }) => row).sort((a, b) => (b.sizeBytes ?? -1) - (a.sizeBytes ?? -1));
}

function rowOf(object: ObjectDetails, nodeId: string, nodes: readonly string[]): ObjectRow {
  const { place, stored, sizeBytes, ownerPid, jobId, callSite, createdAtMs, holds, holders } = object;
  return {
    objectId: idOf(object),
    ...{ sizeBytes, ownerPid, jobId, callSite, holds },
    state: place === "memory" ? "memory" : place === "disk" ? "spilled" : nodes.length > 0 ? "memory" : "inline",
    ownerNodeId: nodeId,
    name: stored === null ? null : (RESULT.exec(callSite ?? "")?.[1] ?? (callSite === null ? null : "put")),
    nodes: nodes as string[],
    holders: [...holders],
    createdAtMs: createdAtMs ?? null,
  };
}

/** What workers say in place of a call site. */
const RESULT = /^result of (.+)$/s;

/** As refs say it; what never left its owner has the name under which its store knows it. */
const idOf = ({ key, stored, jobId }: ObjectDetails): string => (key === null ? (stored ?? "") : publicId(key, jobId));

const publicId = (key: ObjectKey, job: JobId | null): string =>
  objectIdHex(objectKeyOwner(key), objectKeySeq(key), job ?? ("00000000" as JobId), 1);
