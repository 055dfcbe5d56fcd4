/** Why a demand went where it went, in sentences with numbers: afterwards, by what the view had when it was decided. */
import type { NodeId } from "../base/ids.ts";
import { describeResources, describeUnits } from "./amounts.ts";
import type { ClusterView } from "./cluster-view.ts";
import { describeSelectors } from "./infeasible.ts";
import type { Labels } from "./labels.ts";
import type { Node, NodeState } from "./node-state.ts";
import { type Outcome, outcomeOf } from "./outcome.ts";
import { PACK_BELOW, type PlacementRequest } from "./policy.ts";
import { obstacle, RANK, type Verdict } from "./verdict.ts";

export interface Explained {
  readonly sentences: readonly string[];
  /** The nodes one by one, the chosen and the best first: all of a small cluster, the first of a large one. */
  readonly considered: readonly Considered[];
  /** Of a large cluster all nodes, by what is said of them. */
  readonly verdicts?: readonly VerdictCount[];
}

/** `${name} ${verdict}` is a sentence. */
export interface Considered {
  readonly nodeId: NodeId;
  readonly name: string;
  readonly labels: Labels;
  readonly verdict: string;
}

/** So many nodes of which the same is said; the names are examples. */
export interface VerdictCount {
  readonly count: number;
  readonly verdict: string;
  readonly names: readonly string[];
}

export interface About {
  readonly view: ClusterView;
  readonly request: PlacementRequest;
  readonly outcome: Outcome;
  /** States that were others when it was decided; undefined when that is no longer known. */
  readonly changed: ReadonlyMap<Node, NodeState | undefined> | undefined;
}

/** Up to so many nodes are told one by one in the sentences; more are told by groups. */
const NAMED_MAX = 8;
const CONSIDERED_MAX = 64;
const EXAMPLES_MAX = 3;
const SHORTLY_MAX = 2;

export function explainOutcome(about: About): Explained {
  const nodes = explainNodes(about.view, about.changed, (node, state) => verdictOn(node, state, about));
  return { ...nodes, sentences: [opening(about.request, about.outcome, about), ...nodes.sentences] };
}

/** The same for a demand that is not decided now, by what is known now: why it waits. */
export function explainNow(view: ClusterView, request: PlacementRequest): Explained {
  return explainOutcome({ view, request, outcome: outcomeOf(view, request), changed: UNCHANGED });
}

/** The same in a line: what is wanted, and what stands in the way at most nodes. */
export function explainShortly(
  view: ClusterView,
  request: PlacementRequest,
): { readonly wish: string; readonly isInfeasible: boolean; readonly why: string } {
  const { shape } = request;
  const wish = `${describeResources(shape.units)}${describeSelectors(shape)}`;
  const outcome = outcomeOf(view, request);
  if (outcome.kind === "refused") return { wish, isInfeasible: true, why: outcome.message };
  const verdicts: [Node, Verdict, NodeState][] = [];
  for (const node of view.nodes()) {
    const verdict = verdictOn(node, node.state, { view, request, outcome, changed: UNCHANGED });
    if (verdict.rank <= RANK.full) verdicts.push([node, verdict, node.state]);
  }
  const why = count(verdicts).slice(0, SHORTLY_MAX).map(sentenceOfMany).join(" ");
  return { wish, isInfeasible: false, why: outcome.kind === "placed" ? "It is being granted." : why };
}

/**
 * Of what the asking node has taken by itself, because it was under {@link PACK_BELOW}: nobody else was asked, so what they had
 * free then is not known.
 */
export function explainPacked(view: ClusterView, request: PlacementRequest, chosen: Node): Explained {
  const nodes = explainNodes(view, UNCHANGED, (node, state) => {
    if (node === chosen) return CHOSEN;
    const problem = obstacle(state, request.shape);
    return problem && !problem.isOfMoment ? problem : NOT_ASKED;
  });
  const sentence = `${wish(request.shape)}; ${chosen.name} took it, the node that asked, while it was under ${percent(PACK_BELOW)} utilised.`;
  return { ...nodes, sentences: [sentence, ...nodes.sentences] };
}

/** What there is to say of each node as it was then. */
export function explainNodes(
  view: ClusterView,
  changed: About["changed"],
  verdictOf: (node: Node, state: NodeState) => Verdict,
): Explained {
  if (!changed) return { sentences: ["What the other nodes had then is no longer remembered."], considered: [] };
  const verdicts: [Node, Verdict, NodeState][] = [];
  for (const node of view.nodes()) {
    const state = changed.has(node) ? changed.get(node) : node.state;
    if (state) verdicts.push([node, verdictOf(node, state), state]);
  }
  verdicts.sort(([, a, ofA], [, b, ofB]) => compareVerdicts(a, b) || ofA.utilisation - ofB.utilisation);
  const considered = verdicts
    .slice(0, CONSIDERED_MAX)
    .map(([{ id, name }, { text }, { labels }]): Considered => ({ nodeId: id, name, labels, verdict: text }));
  if (verdicts.length <= NAMED_MAX) return { sentences: considered.map(sentenceOf), considered };
  const counted = count(verdicts);
  return { sentences: counted.map(sentenceOfMany), considered, verdicts: counted };
}

export const sentenceOf = ({ name, verdict }: Pick<Considered, "name" | "verdict">): string => `${name} ${verdict}.`;

export function sentenceOfMany({ count: nodes, verdict, names }: VerdictCount): string {
  const [first] = names;
  return first !== undefined && nodes === 1
    ? `${first} ${verdict}.`
    : `${nodes.toLocaleString("en-US")} nodes ${verdict}, for example ${names.join(", ")}.`;
}

/** The chosen one first, then those that came closest. */
function compareVerdicts(a: Verdict, b: Verdict): number {
  return a.rank - b.rank || (b.amount?.units ?? 0) - (a.amount?.units ?? 0);
}

function count(verdicts: readonly (readonly [Node, Verdict, NodeState])[]): VerdictCount[] {
  const groups = new Map<string, { verdict: Verdict; nodes: Node[]; least: number; most: number }>();
  for (const [node, verdict] of verdicts) {
    const units = verdict.amount?.units ?? 0;
    const group = groups.get(verdict.kind);
    if (group) {
      group.nodes.push(node);
      group.least = Math.min(group.least, units);
      group.most = Math.max(group.most, units);
    } else groups.set(verdict.kind, { verdict, nodes: [node], least: units, most: units });
  }
  return [...groups.values()]
    .sort((a, b) => b.nodes.length - a.nodes.length)
    .map(({ verdict, nodes, least, most }) => {
      const range = verdict.amount ? ` (${rangeOf(verdict.amount.of, least, most)})` : "";
      return {
        count: nodes.length,
        verdict: nodes.length === 1 ? verdict.text : `${verdict.plural}${range}`,
        names: nodes.slice(0, EXAMPLES_MAX).map(({ name }) => name),
      };
    });
}

function rangeOf(of: string, least: number, most: number): string {
  const [name = ""] = of.split(" ");
  const from = describeUnits(name, least);
  return least === most ? `${from} ${of}` : `${from} to ${describeUnits(name, most)} ${of}`;
}

const stateOf = (node: Node, { changed }: About): NodeState | undefined =>
  changed?.has(node) ? changed.get(node) : node.state;

function opening({ shape }: PlacementRequest, outcome: Outcome, about: About): string {
  const what = wish(shape);
  if (outcome.kind === "refused") return `${outcome.message}.`;
  if (outcome.kind === "waits") return `${what}; no node has room for it now, and it waits.`;
  const { node, why, selector } = outcome.choice;
  const fallback = selector > 0 ? `, by choice ${selector + 1} of its label selectors` : "";
  const went = `${what}; it went to ${node.name}${fallback}, `;
  switch (why.kind) {
    case "locality":
      return `${went}which has most of its arguments: ${mebibytes(why.bytes)}.`;
    case "asking-node":
      return `${went}the node that asked, which was ${percent(why.utilisation)} utilised, under ${percent(PACK_BELOW)}.`;
    case "least-utilised":
      return `${went}the least utilised of those with room, at ${percent(why.utilisation)}${askingNode(about)}.`;
    case "round-robin":
      return `${went}whose turn it was.`;
    case "affinity":
      return `${went}the node that it named.`;
  }
}

const wish = (shape: PlacementRequest["shape"]): string =>
  `${shape.name} wants ${describeResources(shape.units)}${describeSelectors(shape)}`;

const UNCHANGED: ReadonlyMap<Node, NodeState | undefined> = new Map();
const CHOSEN: Verdict = { kind: "chosen", rank: RANK.chosen, text: "was chosen", plural: "were chosen" };
const NOT_ASKED: Verdict = {
  kind: "not-asked",
  rank: RANK.room,
  text: "was not asked; the node that asks goes first",
  plural: "were not asked; the node that asks goes first",
};

/** Why not the node that asked. */
function askingNode(about: About): string {
  const { view, request } = about;
  const asking = request.from === undefined ? undefined : view.node(request.from);
  const state = asking && about.changed && stateOf(asking, about);
  if (!asking || !state || obstacle(state, request.shape)) return "";
  const utilisation = request.shape.wantsGpu ? state.gpuUtilisation : state.utilisation;
  if (utilisation < PACK_BELOW) return "";
  return `, since ${asking.name}, which asked, was at ${percent(utilisation)}`;
}

function verdictOn(node: Node, state: NodeState, about: About): Verdict {
  const { request, outcome } = about;
  const choice = outcome.kind === "placed" ? outcome.choice : undefined;
  if (choice?.node === node) return CHOSEN;
  const { strategy, shape, locality } = request;
  const isOther = typeof strategy === "object" && strategy.nodeId !== node.id;
  if (isOther && !strategy.soft) {
    return {
      kind: "other",
      rank: RANK.unfit,
      text: "is not the node that was named",
      plural: "are not the node that was named",
    };
  }
  const problem = obstacle(state, shape);
  if (problem) return problem;
  switch (choice?.why.kind) {
    case undefined:
      return { kind: "room", rank: RANK.room, text: "has room", plural: "have room" };
    case "locality": {
      const bytes = locality?.find(({ nodeId }) => nodeId === node.id)?.bytes ?? 0;
      const text = `had room, and ${bytes > 0 ? `only ${mebibytes(bytes)}` : "nothing"} of the arguments`;
      return { kind: "locality", rank: RANK.room, text, plural: "had room, and less of the arguments" };
    }
    case "asking-node":
      return {
        kind: "asking",
        rank: RANK.room,
        text: "had room; the node that asked goes first",
        plural: "had room; the node that asked goes first",
      };
    case "affinity":
      return {
        kind: "named",
        rank: RANK.room,
        text: "had room; another was named",
        plural: "had room; another was named",
      };
    case "round-robin":
      return {
        kind: "turn",
        rank: RANK.room,
        text: "had room; its turn comes later",
        plural: "had room; their turn comes later",
      };
    case "least-utilised":
      return lessGood(state, about);
  }
}

function lessGood(state: NodeState, { request, outcome }: About): Verdict {
  const { shape } = request;
  const chosen = outcome.kind === "placed" ? outcome.choice : undefined;
  if (!shape.wantsGpu && (state.total.gpu ?? 0) > 0 && (chosen?.node.state.total.gpu ?? 0) === 0) {
    return {
      kind: "kept",
      rank: RANK.kept,
      text: "had room, but has GPUs, and is kept for work that wants them",
      plural: "had room, but have GPUs, and are kept for work that wants them",
    };
  }
  const utilisation = shape.wantsGpu ? state.gpuUtilisation : state.utilisation;
  const of = chosen?.why.kind === "least-utilised" ? chosen.why.utilisation : 0;
  const isBusier = Math.round(1000 * utilisation) > Math.round(1000 * of);
  return {
    kind: isBusier ? "busier" : "equal",
    rank: RANK.room,
    text: isBusier
      ? `had room, but was ${percent(utilisation)} utilised`
      : "had room, and was not the first of equally good ones",
    plural: isBusier ? "had room, but were more utilised" : "had room, and were not the first of equally good ones",
  };
}

const percent = (share: number): string => `${Number((100 * share).toFixed(1))} %`;
const mebibytes = (bytes: number): string => `${Number((bytes / 2 ** 20).toFixed(1))} MiB`;
