/** What `ray memory` prints, in the messages by which it asks a node of Ray: objects by the process that owns them, and the stores. Pure. */
import type { Row } from "../state/mod.ts";
import { bytesField, numberField } from "./protobuf.ts";
import { objectRow, type Places } from "./state-rows.ts";

const ID_BYTES = 28;
/** `ray.rpc.TaskStatus` */
const TASK_STATUS: Readonly<Record<string, number>> = { NIL: 0, PENDING_NODE_ASSIGNMENT: 2, FINISHED: 11, FAILED: 12 };
/** `ray.rpc.WorkerType` */
const DRIVER = 1;

/** `ray.rpc.GetAllNodeInfoReply` with one node that is alive: it answers for all of them. */
export function oneNode(authority: string, clusterId: Uint8Array): Buffer {
  const colon = authority.lastIndexOf(":");
  const node = [
    bytesField(1, clusterId),
    bytesField(2, authority.slice(0, colon).replace(/^\[|\]$/g, "")),
    numberField(5, Number(authority.slice(colon + 1)) || 0),
  ];
  return Buffer.concat([bytesField(2, Buffer.concat(node)), numberField(3, 1)]);
}

/** `ray.rpc.GetNodeStatsReply` */
export function nodeStats(objects: readonly Row<"objects">[], places: Places): Buffer {
  const byOwner = Map.groupBy(
    objects.map((row) => objectRow(row, places)),
    ({ ip, pid, type }) => JSON.stringify([ip, pid, type]),
  );
  const workers = [...byOwner].map(([owner, refs]) => {
    const [ip, pid, type] = JSON.parse(owner) as [string, number, string];
    return Buffer.concat([
      bytesField(3, ip),
      ...refs.map((ref) => bytesField(13, objectRef(ref))),
      numberField(17, pid),
      numberField(18, type === "DRIVER" ? DRIVER : 0),
    ]);
  });
  return Buffer.concat(workers.map((worker) => bytesField(1, worker)));
}

/** `ray.rpc.ObjectRefInfo` */
function objectRef(row: ReturnType<typeof objectRow>): Buffer {
  const id = idBytes(String(row.object_id));
  return Buffer.concat([
    bytesField(1, id),
    bytesField(2, String(row.call_site)),
    numberField(3, Number(row.object_size)),
    // Ray's client tells by these how it is held.
    row.reference_type === "CAPTURED_IN_OBJECT" ? bytesField(6, id) : numberField(4, 1),
    numberField(8, TASK_STATUS[String(row.task_status)] ?? 0),
  ]);
}

/** What never left its owner has a name that its store gave it, and no id: it is shown by its letters. */
const idBytes = (id: string): Buffer => {
  const bytes = /^[0-9a-f]{56}$/.test(id) ? Buffer.from(id, "hex") : Buffer.from(id, "latin1");
  return Buffer.concat([bytes, Buffer.alloc(ID_BYTES)]).subarray(0, ID_BYTES);
};

/** `ray.rpc.FormatGlobalMemoryInfoReply` */
export function storeStats(nodes: readonly Row<"nodes">[], objects: number): Buffer {
  const sum = (of: (node: Row<"nodes">) => number): number =>
    nodes.filter(({ state }) => state !== "dead").reduce((total, node) => total + of(node), 0);
  const used = sum(({ storeUsedBytes }) => storeUsedBytes);
  return bytesField(
    2,
    Buffer.concat([
      numberField(
        2,
        sum(({ storeSpilledBytes }) => storeSpilledBytes),
      ),
      numberField(7, used),
      numberField(
        8,
        sum(({ storeCapacityBytes }) => storeCapacityBytes),
      ),
      numberField(9, used),
      numberField(11, objects),
    ]),
  );
}
