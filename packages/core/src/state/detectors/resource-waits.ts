/**
 * Who waits for resources, and who has them. What waits is a *want*: work that was asked for, in or outside of a placement group,
 * or a group that has no place for some of its bundles. It *lacks* a resource that is not free enough on the nodes that could give
 * it, or in its group. Who has the rest are *holders*: actors, running tasks, and groups, which have all of their bundles, used or
 * not. Each is a *party*, as waits name it: `actor:<id>`, `task:<key>`, `group:<id>`.
 */
import { objectKey, taskIdHex } from "../../base/ids.ts";
import { fromUnits, type Resources } from "../../base/resources.ts";
import type { LiveTask, WaitingDemand } from "../../wire/queries.ts";
import type { ActorRow, GroupRow, NodeRow } from "../rows.ts";
import type { Observation } from "./detector.ts";
import { actorText, countText } from "./words.ts";

export interface Party {
  readonly party: string;
  readonly id: string;
  readonly words: string;
}
export interface Holder extends Party {
  readonly amount: number;
}
export interface Lack {
  readonly resource: string;
  readonly wanted: number;
  readonly total: number;
  readonly free: number;
  readonly holders: readonly Holder[];
  /** The group in which it is lacking; undefined: on nodes. */
  readonly groupId: string | undefined;
}
export interface Want {
  readonly key: string;
  readonly words: string;
  /** Its own parties: those that cannot go on before it has what it wants. */
  readonly parties: readonly Party[];
  /** Of a function or class. */
  readonly name: string | undefined;
  readonly lacks: readonly Lack[];
}

/** What of a known total is not accounted for is no rounding. */
export const EPSILON = 1e-6;

export const taskParty = (key: string): string => `task:${key}`;
const actorParty = (actorId: string): string => `actor:${actorId}`;
export const groupParty = (groupId: string): string => `group:${groupId}`;

const groupText = ({ name, placementGroupId }: GroupRow): string =>
  `placement group ${name === null ? "" : `"${name}" `}(${placementGroupId})`;

/** Of more groups that wait the first are enough to say what is wrong. */
const GROUPS_MAX = 100;

/** What waits, with nothing in `lacks` when it waits for something else. */
export function* wantsOf(use: ResourceUse): Generator<Want> {
  const { observation } = use;
  for (const demand of observation.waiting) {
    const lacks = demand.isInfeasible ? [] : [...lacksOf(demand, use)];
    yield { ...aboutDemand(demand, observation), lacks };
  }
  const waiting = observation.groups.filter(({ state }) => state === "pending" || state === "rescheduling");
  for (const group of waiting.slice(0, GROUPS_MAX)) {
    const { placementGroupId: id } = group;
    const party = { party: groupParty(id), id, words: groupText(group) };
    const lacks = [...groupLacks(group, use)];
    yield { key: party.party, words: party.words, parties: [party], name: undefined, lacks };
  }
}

function aboutDemand(demand: WaitingDemand, { live, actors }: Observation): Omit<Want, "lacks"> {
  const { kind, name, groupId } = demand;
  const parties: Party[] = [];
  if (kind === "task") {
    for (const task of live.tasks)
      if (task.state !== "running" && task.kind === "task" && task.name === name) parties.push(partyOfTask(task));
  } else {
    for (const actor of actors.all)
      if (actor.className === name && (actor.state === "pending" || actor.state === "restarting"))
        parties.push(partyOfActor(actor));
  }
  const asked = countText(Math.max(demand.count, parties.length));
  const key = `${kind} ${name} ${groupId ?? ""} ${demand.wish}`;
  return { key, words: `${kind} ${name} (${asked} asked for)`, parties, name };
}

function partyOfTask(task: LiveTask): Party {
  const id = taskIdHex(task.owner, task.seq, task.jobId);
  return { party: taskParty(objectKey(task.owner, task.seq)), id, words: `task ${task.name} (${id})` };
}

function partyOfActor(actor: ActorRow): Party {
  return { party: actorParty(actor.actorId), id: actor.actorId, words: `actor ${actorText(actor)}` };
}

// ── who has what ─────────────────────────────────────────────────────────────────────────────────────────────────────

interface Having extends Party {
  readonly resources: Resources;
  readonly nodeId: string;
}

/** Of one observation, and each thing looked for once. */
export class ResourceUse {
  readonly observation: Observation;
  private all:
    | { readonly outside: readonly Having[]; readonly inside: ReadonlyMap<string, readonly Having[]> }
    | undefined;
  private readonly holders = new Map<string, readonly Holder[]>();

  constructor(observation: Observation) {
    this.observation = observation;
  }

  /** What runs in a group. */
  membersOf(groupId: string): readonly Having[] {
    return this.having().inside.get(groupId) ?? [];
  }

  /** Who has some of it on these nodes: what runs in a group has it of the group. */
  holdersOn(nodes: ReadonlySet<string>, resource: string): readonly Holder[] {
    const key = `${resource} ${[...nodes].join()}`;
    let known = this.holders.get(key);
    if (!known) {
      known = [...this.findHolders(nodes, resource)];
      this.holders.set(key, known);
    }
    return known;
  }

  private *findHolders(nodes: ReadonlySet<string>, resource: string): Generator<Holder> {
    for (const { party, id, words, resources, nodeId } of this.having().outside) {
      const { [resource]: amount = 0 } = resources;
      if (amount > 0 && nodes.has(nodeId)) yield { party, id, words, amount };
    }
    for (const group of this.observation.groups) {
      if (group.state !== "created" && group.state !== "rescheduling") continue;
      let amount = 0;
      for (const { nodeId, resources } of group.bundles)
        if (nodeId !== null && nodes.has(nodeId)) amount += resources[resource] ?? 0;
      const { placementGroupId: id } = group;
      if (amount > 0) yield { party: groupParty(id), id, words: groupText(group), amount };
    }
  }

  /** Actors and running tasks, with what they have. */
  private having() {
    if (this.all) return this.all;
    const { actors, live } = this.observation;
    const outside: Having[] = [];
    const inside = new Map<string, Having[]>();
    const add = (one: Having, groupId: string | undefined): void => {
      if (groupId === undefined) outside.push(one);
      else inside.set(groupId, [...(inside.get(groupId) ?? []), one]);
    };
    for (const actor of actors.all) {
      const { state, nodeId, resources, placementGroupId } = actor;
      if (state !== "dead" && nodeId !== null)
        add({ ...partyOfActor(actor), resources, nodeId }, placementGroupId ?? undefined);
    }
    for (const task of live.tasks) {
      const { state, kind, resources, worker, groupId } = task;
      if (state === "running" && kind === "task" && resources && worker)
        add({ ...partyOfTask(task), resources: fromUnits(resources), nodeId: worker[1] }, groupId);
    }
    this.all = { outside, inside };
    return this.all;
  }
}

// ── what is lacking ──────────────────────────────────────────────────────────────────────────────────────────────────

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);

function lackOn(able: readonly NodeRow[], lack: Pick<Lack, "resource" | "wanted">, use: ResourceUse): Lack | undefined {
  if (able.length === 0) return undefined;
  const { resource } = lack;
  return {
    ...lack,
    total: sum(able.map(({ resources }) => resources[resource] ?? 0)),
    free: sum(able.map(({ available }) => available[resource] ?? 0)),
    holders: use.holdersOn(new Set(able.map(({ nodeId }) => nodeId)), resource),
    groupId: undefined,
  };
}

function* lacksOf({ resources, groupId }: WaitingDemand, use: ResourceUse): Generator<Lack> {
  const { observation } = use;
  const group = observation.groups.find(({ placementGroupId }) => placementGroupId === groupId);
  for (const [resource, wanted] of Object.entries(resources)) {
    if (wanted <= 0) continue;
    if (groupId !== undefined) {
      const lack = group && lackInGroup(group, resource, wanted, use);
      if (lack) yield lack;
      continue;
    }
    const able = observation.nodes.filter(
      (node) => node.state === "alive" && (node.resources[resource] ?? 0) >= wanted,
    );
    const isLacking = able.every(({ available }) => (available[resource] ?? 0) < wanted - EPSILON);
    const lack = isLacking && lackOn(able, { resource, wanted }, use);
    if (lack) yield lack;
  }
}

/** Nobody says what of a bundle is free: only one that is used up by those that are known is lacking. */
function lackInGroup(group: GroupRow, resource: string, wanted: number, use: ResourceUse): Lack | undefined {
  const { placementGroupId: groupId, state, bundles } = group;
  const total = sum(bundles.map(({ resources }) => resources[resource] ?? 0));
  if (state !== "created" || total <= 0) return undefined;
  const holders = use.membersOf(groupId).flatMap(({ party, id, words, resources: { [resource]: amount = 0 } }) => {
    return amount > 0 ? [{ party, id, words, amount }] : [];
  });
  return { resource, wanted, total, free: 0, holders, groupId };
}

/** The nodes have too little for its bundles together, or for the largest, or are too few. */
function* groupLacks({ bundles, strategy }: GroupRow, use: ResourceUse): Generator<Lack> {
  const missing = bundles.filter(({ nodeId }) => nodeId === null);
  for (const resource of new Set(missing.flatMap(({ resources }) => Object.keys(resources)))) {
    const amounts = missing.map(({ resources }) => resources[resource] ?? 0).filter((amount) => amount > 0);
    if (amounts.length === 0) continue;
    const [least, most, wanted] = [Math.min(...amounts), Math.max(...amounts), sum(amounts)];
    const able = use.observation.nodes.filter(
      (node) => node.state === "alive" && (node.resources[resource] ?? 0) >= least,
    );
    const free = able.map(({ available }) => (available[resource] ?? 0) + EPSILON);
    const atOnce = strategy === "STRICT_PACK" ? wanted : most;
    const isLacking =
      wanted > sum(free) ||
      free.every((amount) => amount < atOnce) ||
      (strategy === "STRICT_SPREAD" && free.filter((amount) => amount >= least).length < amounts.length);
    const lack = isLacking && lackOn(able, { resource, wanted }, use);
    if (lack) yield lack;
  }
}
