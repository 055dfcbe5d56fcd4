/** Placement groups: resources that are reserved together, on one node or several, for tasks and actors that belong together. */
import {
  ConnectionLostError,
  GetTimeoutError,
  InfeasibleError,
  InvalidOptionError,
  PlacementGroupRemovedError,
} from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";
import { fromUnits, type ResourceUnits, toUnits } from "../base/resources.ts";
import { askedBy, type Client, type Ref } from "../client/mod.ts";
import type { BundleChoice, GroupRequest, Placement } from "../wire/mod.ts";
import { core } from "./core-port.ts";
import { client } from "./current.ts";
import {
  amount,
  aText,
  type Check,
  gpus,
  isRecord,
  oneOf,
  readOptions,
  recordOf,
  refuse,
  wholeNumber,
} from "./option-checks.ts";
import { labelSelector } from "./selector-check.ts";
import type { ObjectRef, PlacementGroup, PlacementGroupOptions, Resources } from "./types.ts";

const optionTable = {
  strategy: oneOf("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"),
  name: aText,
  lifetime: oneOf("owner", "detached"),
  labelSelector,
  topology: aText,
  priority: wholeNumber(-1000, 1000),
} as const;

const bundle: Check<Resources> = (value, at) => {
  const read = recordOf(amount, "an object of amounts, such as { cpu: 1, gpu: 1 }")(value, at);
  if (read.gpu !== undefined) gpus(read.gpu, { call: at.call, option: `${at.option}.gpu` });
  return Object.values(read).some((each) => each > 0) ? read : refuse(at, value, "of something above 0");
};

/** Of groups that this process has created: what is ready when they are. The cluster knows it of all. */
const created = new WeakMap<PlacementGroupHandle, Ref>();

/** @hidden What stands for a group in programs; it can be passed to tasks and actors. */
export class PlacementGroupHandle implements PlacementGroup {
  readonly id: string;
  readonly bundles: readonly Resources[];

  constructor(id: string, bundles: readonly Resources[]) {
    this.id = id;
    this.bundles = bundles;
  }

  ready(): ObjectRef<void> {
    const current = client();
    const { id: groupId } = this;
    const known = created.get(this);
    const ref =
      known?.client === current
        ? current.again(known)
        : current.expect({ method: "await-group", explain: "why-group", params: { groupId } });
    // Refs are typed where they are given out.
    return ref as unknown as ObjectRef<void>;
  }

  async wait(timeoutMs: number): Promise<boolean> {
    const ref = this.ready();
    try {
      await core().get(ref, { timeoutMs });
      return true;
    } catch (error) {
      const isNo = [GetTimeoutError, InfeasibleError, PlacementGroupRemovedError].some((type) => error instanceof type);
      if (isNo) return false;
      throw error;
    } finally {
      core().release(ref);
    }
  }

  async remove(): Promise<void> {
    const current = client();
    while (!(await whileLost(current, () => current.port.query("remove-group", { groupId: this.id, ...askedBy() })))) {
      // What runs in it is still ending: asked for again.
    }
  }
}

/**
 * Reserves resources together: all of the bundles or none. Tasks and actors run in them with
 * `schedulingStrategy: { placementGroup, bundleIndex }`.
 *
 * @throws InvalidOptionError for bundles or options that are none.
 * @example
 * const group = placementGroup([{ gpu: 1 }, { gpu: 1 }], { strategy: "STRICT_PACK" });
 * await get(group.ready());
 */
export function placementGroup(bundles: readonly Resources[], options?: PlacementGroupOptions): PlacementGroup {
  const current = client();
  const call = "placementGroup()";
  const at = { call, option: "bundles" };
  if (!Array.isArray(bundles) || bundles.length === 0) refuse(at, bundles, "a list of at least one bundle");
  const read = bundles.map((each, index) => bundle(each, { call, option: `bundles[${index}]` }));
  const {
    strategy = "PACK",
    lifetime = "owner",
    name,
    topology,
    priority,
    labelSelector: selectors = [],
  } = readOptions(call, optionTable, options);
  const group = new PlacementGroupHandle(randomBytes(16).toString("hex"), read);
  const request: GroupRequest = {
    groupId: group.id,
    bundles: read.map((each): ResourceUnits => toUnits(each)),
    strategy,
    selectors: selectors.filter((selector) => Object.keys(selector).length > 0),
    jobId: current.jobId,
    namespace: current.namespace,
    lifetime,
    ...(name !== undefined && { name }),
    ...(topology !== undefined && { topology }),
    ...(priority !== undefined && { priority }),
  };
  created.set(group, current.expect({ method: "create-group", explain: "why-group", params: request, isOrder: true }));
  return group;
}

/** What is asked of control is asked again when that was away for long, until this process has lost its node. */
async function whileLost<T>(current: Client, ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (current.isClosed || !(error instanceof ConnectionLostError)) throw error;
    }
  }
}

/**
 * The placement group of this namespace with this name.
 *
 * @throws InvalidOptionError when there is none.
 */
export async function getPlacementGroup(name: string): Promise<PlacementGroup> {
  if (typeof name !== "string" || name === "") {
    throw new InvalidOptionError("getPlacementGroup() takes the name of a placement group");
  }
  const { namespace, port } = client();
  const found = (await port.query("find-group", { name, namespace })) as GroupRequest | null;
  if (!found) throw new InvalidOptionError(`no placement group is named ${name} in the namespace ${namespace}`);
  return new PlacementGroupHandle(found.groupId, found.bundles.map(fromUnits));
}

/** A choice of bundle as `schedulingStrategy` takes it. */
export const inGroup: Check<BundleChoice> = (value, at) => {
  const { placementGroup: group, bundleIndex, captureChildTasks, ...rest } = isRecord(value) ? value : {};
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) refuse({ ...at, option: `${at.option}.${unknown}` }, rest[unknown], "left out");
  if (!(group instanceof PlacementGroupHandle)) {
    return refuse({ ...at, option: `${at.option}.placementGroup` }, group, "what placementGroup() gave");
  }
  if (captureChildTasks !== undefined && typeof captureChildTasks !== "boolean") {
    refuse({ ...at, option: `${at.option}.captureChildTasks` }, captureChildTasks, "true or false");
  }
  const choice = {
    groupId: group.id,
    sizes: sizesOf(group.bundles),
    ...(captureChildTasks === true && { captures: true as const }),
  };
  if (bundleIndex === undefined) return choice;
  const last = group.bundles.length - 1;
  if (typeof bundleIndex !== "number" || !Number.isInteger(bundleIndex) || bundleIndex < 0 || bundleIndex > last) {
    return refuse({ ...at, option: `${at.option}.bundleIndex` }, bundleIndex, `a whole number from 0 to ${last}`);
  }
  return { ...choice, index: bundleIndex };
};

/** Equal ones that follow each other are told once: a gang may have thousands. */
function sizesOf(bundles: readonly Resources[]): NonNullable<BundleChoice["sizes"]> {
  const sizes: [number, Resources][] = [];
  let before = "";
  for (const each of bundles) {
    const text = JSON.stringify(each);
    const last = sizes.at(-1);
    if (last && text === before) last[0]++;
    else sizes.push([1, each]);
    before = text;
  }
  return sizes;
}

/** The group that something runs in, as `runtimeContext()` gives it. */
export const groupOf = ({ groupId, sizes = [] }: BundleChoice): PlacementGroup =>
  new PlacementGroupHandle(
    groupId,
    sizes.flatMap(([count, size]) => Array.from({ length: count }, () => size)),
  );

/** Where what the running code submits goes when it does not say where: to the group that captures it. */
export function capturedBy(bundle: BundleChoice | undefined): Placement | undefined {
  if (!bundle?.captures) return undefined;
  const { index: _own, ...group } = bundle;
  return { bundle: group };
}
