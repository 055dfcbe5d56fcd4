/** What a node says of objects to people: those in its store, and small ones whose refs have left their owners here. */
import { clockOffsetMs } from "../base/clock.ts";
import {
  type JobId,
  type NodeId,
  nodeTag,
  nodeTagOf,
  type ObjectKey,
  objectKeyOwner,
  type ProcessId,
  type StoredName,
  storedName,
  storedNameKey,
  storedNameTag,
} from "../base/ids.ts";
import type { Control } from "../control/mod.ts";
import type { StoreServer } from "../store/mod.ts";
import type { StoredValue } from "../wire/messages.ts";
import type { ObjectDetails, Queries } from "../wire/queries.ts";

export interface ObjectDetailsOptions {
  readonly nodeId: NodeId;
  readonly store: Pick<StoreServer, "list">;
  readonly control: Pick<Control, "objects" | "holdsOf">;
  /** Of a copy of what was made elsewhere. */
  nameOf(key: number): StoredName | undefined;
  processOf(process: ProcessId): ObjectProcess | undefined;
}

/** A process that owns or holds objects. */
export interface ObjectProcess {
  readonly role: string;
  readonly pid: number;
  readonly jobId: JobId | undefined;
}

const ROWS_MAX = 10_000;
const HOLDERS_SHOWN = 4;
const UNKNOWN_SITE = "unknown place";

/** All are counted; the largest are told. */
export function objectDetails(
  { nodeId, store, control, nameOf, processOf }: ObjectDetailsOptions,
  { limit }: Queries["object-details"]["params"],
): Queries["object-details"]["result"] {
  const here = nodeTag(nodeId);
  /** Of what lies in the store here, the names under which it is published. */
  const published = new Map<number, ObjectKey>();
  const details: ObjectDetails[] = [];
  const ownedBy = (owner: ProcessId): Pick<ObjectDetails, "owner" | "ownerPid" | "jobId"> => {
    const process = processOf(owner);
    return { owner, ownerPid: process?.pid ?? null, jobId: process?.jobId ?? null };
  };
  const about = (
    key: ObjectKey,
  ): Pick<ObjectDetails, "key" | keyof ReturnType<typeof ownedBy> | "holds" | "holders"> => {
    const owner = objectKeyOwner(key);
    const { holders, pins } = control.holdsOf(key);
    const named = holders.slice(0, HOLDERS_SHOWN).map((one) => {
      const holder = processOf(one);
      return holder ? `${holder.role} ${holder.pid}` : `process ${one}`;
    });
    return {
      ...{ key, ...ownedBy(owner), holds: holders.length + pins },
      holders: pins > 0 ? [...named, `${pins} other ${pins === 1 ? "object" : "objects"}`] : named,
    };
  };
  /** Small, not there yet, or in the store of another node. */
  const others: (readonly [ObjectKey, StoredValue | undefined])[] = [];
  for (const [key, value] of control.objects()) {
    if (value?.at === "stored" && storedNameTag(value.name) === here) published.set(storedNameKey(value.name), key);
    else others.push([key, value?.at === "stored" ? value : undefined]);
  }
  const stored = [...store.list()].sort((a, b) => b.bytes - a.bytes);
  const sites = new Map<
    string,
    { objects: number; sizeBytes: number; spilledBytes: number; holders: number; freedBytes: number }
  >();
  let listed = 0;
  for (const { key, owner, bytes, callSite, sealedAtMs, place, isCopy, pins, isFreed } of stored) {
    const known = sites.get(callSite || UNKNOWN_SITE);
    const site = known ?? { objects: 0, sizeBytes: 0, spilledBytes: 0, holders: 0, freedBytes: 0 };
    sites.set(callSite || UNKNOWN_SITE, site);
    if (isFreed) {
      site.freedBytes += bytes;
      continue;
    }
    listed++;
    const name = published.get(key);
    site.objects++;
    site.sizeBytes += bytes;
    site.spilledBytes += place === "disk" ? bytes : 0;
    site.holders += pins;
    if (details.length >= Math.min(limit, ROWS_MAX)) continue;
    const unpublished = {
      ...{ key: null, ...ownedBy(owner), holds: pins },
      holders: pins > 0 ? [`${pins} ${pins === 1 ? "process reads" : "processes read"} it`] : [],
    };
    details.push({
      ...(name === undefined ? unpublished : about(name)),
      ...{ stored: nameOf(key) ?? storedName(here, key), sizeBytes: bytes, place, isCopy, callSite: callSite || null },
      isOwnedHere: nodeTagOf(owner) === here,
      createdAtMs: clockOffsetMs() + sealedAtMs,
    });
  }
  for (const [key, value] of others.slice(0, Math.max(0, Math.min(limit, ROWS_MAX) - details.length)))
    details.push({
      ...about(key),
      ...{
        stored: value?.name ?? null,
        sizeBytes: value?.size ?? null,
        place: "owner",
        isCopy: false,
        callSite: null,
        isOwnedHere: true,
      },
    });
  return {
    objects: details,
    total: listed + others.length,
    sites: [...sites].map(([callSite, sums]) => ({ callSite, ...sums })).sort((a, b) => b.sizeBytes - a.sizeBytes),
  };
}
