/** Why a group waits, or why it is where it is, in sentences with numbers. */
import type { NodeId } from "../base/ids.ts";
import { describeResources, type Free } from "./amounts.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { Earmark } from "./earmark.ts";
import { type Explained, explainNodes } from "./explain.ts";
import { shortagesOf } from "./gang.ts";
import { kindsOf } from "./gang-kinds.ts";
import { missingOf } from "./group-placing.ts";
import { OWN_ATTEMPT } from "./group-protocol.ts";
import { coverNow, type Group, nameOf, type Reservation } from "./group-state.ts";
import type { Node } from "./node-state.ts";
import { Shape } from "./shape.ts";
import { obstacle, RANK, type Verdict } from "./verdict.ts";

const NAMED_MAX = 5;
const KINDS_MAX = 3;

interface About {
  readonly view: ClusterView;
  readonly group: Group;
  /** How many wait before it; below 0 when it does not wait. */
  readonly ahead: number;
  readonly earmark: Earmark;
  readonly nowMs: number;
}

export interface GroupExplained extends Explained {
  readonly state: "waiting" | "reserving" | "ready" | "removing";
  readonly sinceMs: number;
}

export function explainGroup(about: About): GroupExplained {
  const { group, ahead } = about;
  const sinceMs = group.waitingSinceMs ?? group.createdMs;
  if (group.isRemoving) {
    const nodes = nodesIn(about, "returning");
    const sentence = `${nameOf(group.spec)} is being removed; it waits until ${nodes} have returned its bundles.`;
    return { state: "removing", sentences: [sentence], considered: [], sinceMs };
  }
  const state = ahead >= 0 ? "waiting" : group.underWay > 0 ? "reserving" : "ready";
  return { state, ...(ahead < 0 ? placed(about) : waits(about)), sinceMs };
}

function placed(about: About): Explained {
  const { view, group } = about;
  const { bundles, strategy } = group.spec;
  const name = nameOf(group.spec);
  const preparing = nodesIn(about, "preparing");
  const committing = nodesIn(about, "committing");
  const opening = preparing
    ? `${name} waits until ${preparing} have prepared its bundles.`
    : committing
      ? `${name} waits until ${committing} have committed its bundles.`
      : `${name} is ready: its ${count(bundles.length)} bundles are on ${nodesIn(about, "committed")}, as ${strategy}.`;
  if (group.decidedAtVersion === undefined) {
    // What an earlier control has decided is not known any more.
    const own = [...group.reservations.values()].find(({ attempt }) => attempt.number === OWN_ATTEMPT);
    const node = own && (view.node(own.nodeId)?.name ?? own.nodeId);
    const sentence = `It was asked for on ${node}, which had room for all of it and has placed it by itself.`;
    return { sentences: own ? [opening, sentence] : [opening], considered: [] };
  }
  const onNode = new Map<NodeId, number>();
  for (const one of coverNow(group)) if (one) onNode.set(one.nodeId, (onNode.get(one.nodeId) ?? 0) + 1);
  const kinds = shapesOf(group, [...bundles.keys()]);
  const nodes = explainNodes(view, view.journal.statesAt(group.decidedAtVersion), (node, state) => {
    const has = onNode.get(node.id);
    if (has)
      return {
        kind: "chosen",
        rank: RANK.chosen,
        text: `has ${count(has)} of its bundles`,
        plural: "have some of its bundles",
      };
    const problems = kinds.map((kind) => obstacle(state, kind));
    const [problem] = problems;
    if (problem && problems.every(Boolean)) return problem;
    return UNUSED;
  });
  return { ...nodes, sentences: [opening, ...nodes.sentences] };
}

const UNUSED: Verdict = {
  kind: "unused",
  rank: RANK.room,
  text: "had room, and was not needed",
  plural: "had room, and were not needed",
};

function waits(about: About): Explained {
  const { view, group, ahead, earmark, nowMs } = about;
  const { bundles, strategy } = group.spec;
  const missing = missingOf(view, group);
  const { indexes } = missing;
  const total = count(bundles.length);
  const part = missing.placed.length > 0 ? `${count(indexes.length)} of its ${total} bundles` : `its ${total} bundles`;
  const seconds = ((nowMs - (group.waitingSinceMs ?? nowMs)) / 1000).toFixed(1);
  const sentences = [`${nameOf(group.spec)} waits for room for ${part}, as ${strategy}, since ${seconds} s.`];
  if (group.infeasible) return { sentences: [...sentences, `${group.infeasible.message}.`], considered: [] };
  const wanted = indexes.flatMap((index) => bundles[index] ?? []);
  const freeOn = (node: Node): Free => earmark.freeFor(group, node);
  const short = shortagesOf(view.nodes(), { bundles: wanted, strategy, freeOn });
  for (const { kind, fits } of short.slice(0, KINDS_MAX)) {
    const of = `${count(kind.indexes.length)} bundles of ${describeResources(kind.units)}`;
    sentences.push(`There is room for ${count(fits)} of its ${of}.`);
  }
  if (short.length === 0) {
    sentences.push(`There is room for each kind of its bundles, but not for all of them as ${strategy} wants.`);
  }
  const kind = short[0]
    ? new Shape("a bundle", short[0].kind.units, short[0].kind.selectors)
    : shapesOf(group, indexes)[0];
  const nodes = explainNodes(view, new Map(), (_node, state) => (kind && obstacle(state, kind)) ?? HAS_ROOM);
  sentences.push(...nodes.sentences);
  for (const [nodeId, { reason }] of group.refusedBy) {
    sentences.push(`${view.node(nodeId)?.name ?? nodeId} has just refused: ${reason}.`);
  }
  if (ahead > 0) sentences.push(`${count(ahead)} other groups go first, by priority or because they are older.`);
  const ending = endingOf(about);
  if (ending) sentences.push(ending);
  else if (earmark.isFor(group)) sentences.push("Nodes keep new work away for it for a while.");
  else if (earmark.isActive) sentences.push("Nodes keep new work away for another group for a while.");
  return { ...nodes, sentences };
}

function endingOf({ view, group, earmark }: About): string | undefined {
  const work = `what may run again and has a lower priority than ${group.spec.priority} in other jobs`;
  const ending = earmark.endingFor(group);
  if (!ending) {
    return group.isNotEnough
      ? `It has waited so long that ${work} would end for it, but that is not enough for all of it, so nothing ends.`
      : undefined;
  }
  const names = [...ending.nodes].map((id) => view.node(id)?.name ?? id);
  const at = names.slice(0, NAMED_MAX).join(", ") + (names.length > NAMED_MAX ? ", ..." : "");
  return ending.isDecided
    ? `It has waited so long that ${work} ends for it, at ${at}.`
    : `It has waited so long that ${at} are asked whether ${work} may end for it.`;
}

const HAS_ROOM: Verdict = { kind: "room", rank: RANK.room, text: "has room for one", plural: "have room for one" };

const shapesOf = ({ spec }: Group, indexes: readonly number[]): Shape[] =>
  kindsOf(indexes.flatMap((index) => spec.bundles[index] ?? [])).map(
    ({ units, selectors }) => new Shape("a bundle", units, selectors),
  );

function nodesIn({ view, group }: About, phase: Reservation["phase"]): string {
  const nodes = [...group.reservations.values()].filter((one) => one.phase === phase).map(({ nodeId }) => nodeId);
  const names = [...new Set(nodes)].map((id) => view.node(id)?.name ?? id);
  const more = names.length > NAMED_MAX ? ` and ${count(names.length - NAMED_MAX)} more` : "";
  return names.slice(0, NAMED_MAX).join(", ") + more;
}

const count = (number: number): string => number.toLocaleString("en-US");
