/**
 * Work waits for resources that are held by what waits for that work. Control refuses cycles of `get`s and calls itself; this
 * is a cycle that goes through resources: a task that waits gives its CPUs back, and keeps everything else; an actor keeps its
 * CPUs too, and a placement group all that it has reserved.
 *
 * 1. A want lacks a resource (resource-waits.ts). All of it that is not free must be accounted for: what somebody has of whom
 *    nothing is known (in lists that were cut, say) might come back.
 * 2. A holder is *stuck* when it waits for something that must end first, and so on, down to a want that is never served; a group
 *    is when something runs in it and all of that is stuck, or when it waits for a place for some of its bundles itself.
 * 3. A want is never served when all who have what it lacks are stuck. The wants for which 2 and 3 hold are the greatest set of
 *    such: begun with all, and without those of which a holder is not stuck, until none is left out any more.
 */
import type { Detector, Finding, Observation } from "./detector.ts";
import {
  EPSILON,
  groupParty,
  type Holder,
  type Lack,
  type Party,
  ResourceUse,
  type Want,
  wantsOf,
} from "./resource-waits.ts";
import { listText } from "./words.ts";

const HOLDERS_MAX = 100;
const GROUP = groupParty("");

/** Whom to ask what they wait for, when something waits: who has what is lacking, and what runs in groups that have it. */
export function suspects(observation: Observation): ReadonlySet<string> {
  const use = new ResourceUse(observation);
  const parties = new Set<string>();
  const add = ({ party }: Party): void => {
    if (!party.startsWith(GROUP)) parties.add(party);
    else for (const member of use.membersOf(party.slice(GROUP.length)).slice(0, HOLDERS_MAX)) parties.add(member.party);
  };
  for (const { lacks } of wantsOf(use))
    for (const { holders } of lacks) for (const holder of holders.slice(0, HOLDERS_MAX)) add(holder);
  return parties;
}

export class DeadlockedWaits implements Detector {
  readonly kind = "deadlock";
  readonly pace = "tasks";
  /** A wait is reported after a second; this is longer than any answer may be on its way. */
  readonly raiseAfterMs = 5_000;
  readonly clearAfterMs = 10_000;

  *look(observation: Observation): Generator<Finding> {
    const stuck = new StuckWants(observation);
    for (const want of stuck.wants)
      for (const lack of want.lacks) if (stuck.isNeverServed(lack)) yield finding(want, lack, stuck);
  }
}

class StuckWants {
  private readonly use: ResourceUse;
  /** By party: what it wants; work of one name may want different things. */
  private readonly byParty = new Map<string, Want[]>();
  private readonly never: Set<Want>;

  constructor(observation: Observation) {
    this.use = new ResourceUse(observation);
    this.never = new Set(wantsOf(this.use));
    for (const want of this.never)
      for (const { party } of want.parties) this.byParty.set(party, [...(this.byParty.get(party) ?? []), want]);
    let before: number;
    do {
      before = this.never.size;
      for (const want of this.never) if (!want.lacks.some((lack) => this.isNeverServed(lack))) this.never.delete(want);
    } while (this.never.size < before);
  }

  get wants(): Iterable<Want> {
    return this.never;
  }

  isNeverServed(lack: Lack): boolean {
    const keeps = this.keepersOf(lack);
    const known = keeps.reduce((sum, { amount }) => sum + amount, 0);
    if (keeps.length === 0 || known < lack.total - lack.free - EPSILON) return false;
    return keeps.every(({ party }) => this.reached(party) !== undefined);
  }

  /** Tasks that wait have given their CPUs back. */
  keepersOf({ resource, holders }: Lack): readonly Holder[] {
    const { waits } = this.use.observation;
    return holders.filter(
      ({ party }) => resource !== "cpu" || !party.startsWith("task:") || (waits.get(party)?.length ?? 0) === 0,
    );
  }

  membersOf(party: string): readonly Party[] {
    return party.startsWith(GROUP) ? this.use.membersOf(party.slice(GROUP.length)) : [];
  }

  /** Parties of wants for which it waits; undefined: it may end. */
  reached(party: string, seen = new Set<string>()): readonly Party[] | undefined {
    if (seen.has(party)) return undefined;
    seen.add(party);
    const own = this.byParty.get(party);
    const isGroup = party.startsWith(GROUP);
    if (own) {
      const isStuck =
        own.every((want) => this.never.has(want)) &&
        (!isGroup || this.areStuck(this.membersOf(party), seen) !== undefined);
      return isStuck ? own.flatMap(({ parties }) => parties.filter((one) => one.party === party)) : undefined;
    }
    if (isGroup) {
      const members = this.membersOf(party);
      return members.length > 0 ? this.areStuck(members, seen) : undefined;
    }
    for (const on of this.use.observation.waits.get(party) ?? []) {
      const found = this.reached(on, seen);
      if (found) return found;
    }
    return undefined;
  }

  private areStuck(members: readonly Party[], seen: ReadonlySet<string>): readonly Party[] | undefined {
    const all: Party[] = [];
    for (const { party } of members) {
      const found = this.reached(party, new Set(seen));
      if (!found) return undefined;
      all.push(...found);
    }
    return all;
  }
}

function finding(want: Want, lack: Lack, stuck: StuckWants): Finding {
  const { resource, wanted, total, free, groupId } = lack;
  const keeps = stuck.keepersOf(lack);
  const members = keeps.flatMap(({ party }) => stuck.membersOf(party));
  const reached = new Map(keeps.flatMap(({ party }) => (stuck.reached(party) ?? []).map((one) => [one.party, one])));
  const isOfGroups = want.name === undefined || keeps.some(({ party }) => party.startsWith(GROUP));
  const who = keeps.map(({ party, words, amount }) => {
    const within = stuck.membersOf(party).map((one) => one.words);
    return `${words} has ${amount}${within.length === 0 ? "" : ` for ${listText(within)}`}`;
  });
  const where = groupId === undefined ? "" : ` in placement group (${groupId})`;
  const inUse = free < EPSILON ? `all ${total} that there are` : `the ${total - free} of ${total} that are in use`;
  return {
    key: `${resource} ${want.key}`,
    severity: "error",
    message: `deadlock: ${want.words} waits for ${wanted} ${resource}${where}, and ${inUse} belong to what waits for ${whatFor(want, [...reached.values()])}: ${listText(who)}. None of them will ever end`,
    remedy: isOfGroups ? GROUP_REMEDY : resource === "cpu" ? CPU_REMEDY : remedyOf(resource),
    subjects: [
      ...(want.name === undefined ? want.parties : []).map(({ id }) => id),
      ...[...keeps, ...members, ...reached.values()].map(({ id }) => id),
      ...(groupId === undefined ? [] : [groupId]),
      ...(want.name === undefined ? [] : [want.name]),
    ]
      .filter((id, at, all) => all.indexOf(id) === at)
      .slice(0, 2 * HOLDERS_MAX),
  };
}

/** Holders may wait for another one that is never served either. */
function whatFor({ parties }: Want, reached: readonly Party[]): string {
  const own = new Set(parties.map(({ party }) => party));
  const others = reached.filter(({ party }) => !own.has(party)).map(({ words }) => words);
  if (others.length === 0) return "it";
  return `${others.length < reached.length ? "it and for " : ""}${listText(others)}, which waits likewise`;
}

const GROUP_REMEDY =
  "reserve all that belongs together in one placementGroup(), which has all of its bundles or none; or remove() a group before the next one is waited for, or wait(timeoutMs) for that and give back what one has if it does not come";
const CPU_REMEDY =
  "an actor keeps its CPUs while it waits: give it numCpus: 0, start fewer actors than there are CPUs, or call an actor instead of a task from within";
const remedyOf = (resource: string): string =>
  `a task keeps its ${resource} while it waits: get the results outside of it, ask for less, or let what it calls not ask for ${resource} again`;
