/**
 * Why things wait, or went where they did, for whoever asks this node. It knows what waits here and what its processes own; for
 * the rest it asks who knows: control why nodes were chosen, other nodes what waits with them, owners about their tasks.
 */
import { wallMs } from "../base/clock.ts";
import { ActorNotFoundError, InvalidOptionError, type MobulaError } from "../base/errors.ts";
import {
  type ActorId,
  type NodeId,
  nodeTag,
  nodeTagOf,
  type ObjectKey,
  OWNER_HEX,
  objectKey,
  objectKeyOwner,
  objectKeySeq,
  type ProcessId,
  type Seq,
  type StoredName,
} from "../base/ids.ts";
import type { ObjectHolds } from "../control/mod.ts";
import { describeProcess } from "../owner/mod.ts";
import type { LeaseEngine } from "../scheduler/mod.ts";
import type { NodeStanding } from "../wire/cluster-messages.ts";
import type { Explanation } from "../wire/explanation.ts";
import type { Demand, Explain, Query } from "../wire/messages.ts";
import type { Queries } from "../wire/queries.ts";
import { Asks } from "./asks.ts";

/** What an owner of this node has asked for under a shape. */
export interface AskedLeases {
  readonly key: string;
  readonly demand: Demand;
  /** Of each node that was asked for more than it has granted. */
  readonly waitsAt: readonly NodeId[];
}

export interface ExplanationsEffects {
  /** Undefined when the node is in no cluster. */
  readonly control:
    | (<M extends keyof Queries>(method: M, params: Queries[M]["params"]) => Promise<Queries[M]["result"]>)
    | undefined;
  /** Of a node by itself. */
  actor(actorId: ActorId): Explanation | undefined;
  readonly engine: () => LeaseEngine;
  send(to: NodeId, query: Query): void;
  node(tag: string): NodeStanding | undefined;
  isDead(tag: string): boolean;
  asked(client: ProcessId, shape: number): AskedLeases | undefined;
  /** To an owner of this node that is connected; false when there is none such. */
  toOwner(owner: ProcessId, message: Explain): boolean;
  /** What the node sees through for the owner, if it is this. */
  deputy(owner: ProcessId, seq: Seq): Promise<Explanation> | undefined;
  holds(key: ObjectKey): ObjectHolds;
  /** Tags of nodes, with whether they have all of it. */
  copies(name: StoredName): readonly (readonly [tag: string, isWhole: boolean])[];
  /** How many nodes are to keep it, of those that are put with copies. */
  copiesWanted(name: StoredName): number | undefined;
  /** For people: "driver 4711". */
  describeProcess(process: ProcessId): string | undefined;
}

export type Explaining =
  | "explain-shape"
  | "explain-waiting"
  | "explain-process"
  | "explain-object"
  | "explain-id"
  | "node-names";

/** How long an owner has: the thread of a worker may be busy. */
const OWNER_MS = 1_500;
/** So many nodes are asked what waits there. */
const NODES_ASKED_MAX = 4;
const NAMES_MAX = 10_000;
const HOLDERS_NAMED_MAX = 8;
const COPIES_NAMED_MAX = 8;

export class Explanations {
  readonly asks: Asks;
  private readonly here: { readonly nodeId: NodeId; readonly name: string };
  private readonly effects: ExplanationsEffects;
  /** Also of nodes that are dead. */
  private readonly names = new Map<NodeId, string>();
  private readonly owners = new Map<number, (explanation: Explanation) => void>();
  private nextId = 1;

  constructor(here: { readonly nodeId: NodeId; readonly name: string }, effects: ExplanationsEffects) {
    this.here = here;
    this.effects = effects;
    this.asks = new Asks((to, query) => effects.send(to, query));
  }

  heardOf({ nodeId, name, address }: NodeStanding): void {
    this.names.delete(nodeId);
    this.names.set(nodeId, address === null ? `node ${name}` : `node ${name} (${address})`);
    const [oldest] = this.names.keys();
    if (this.names.size > NAMES_MAX && oldest !== undefined) this.names.delete(oldest);
  }

  isMine(method: string): method is Explaining {
    return method.startsWith("explain-") || method === "node-names";
  }

  /** @param from who asks: a process of this node, whose shapes are meant, or none. */
  async answer(from: ProcessId | undefined, method: Explaining, params: unknown): Promise<unknown> {
    switch (method) {
      case "explain-shape": {
        const { shape, at } = (params ?? {}) as Queries["explain-shape"]["params"];
        if (from === undefined) throw new InvalidOptionError("shapes are those of a process of the node that is asked");
        return this.shape(from, Number(shape), at);
      }
      case "explain-waiting": {
        const { client, shape } = (params ?? {}) as Queries["explain-waiting"]["params"];
        return this.waiting(client, Number(shape));
      }
      case "explain-process": {
        const { pid, nodeId } = (params ?? {}) as Queries["explain-process"]["params"];
        if (nodeId === this.here.nodeId) return describeProcess(Number(pid)) ?? null;
        return this.isAlive(nodeId) ? this.asks.ask(nodeId, method, { pid, nodeId }) : null;
      }
      case "explain-object": {
        const { key, name } = (params ?? {}) as Queries["explain-object"]["params"];
        return this.object(key, name);
      }
      case "node-names":
        return ((params ?? {}) as Queries["node-names"]["params"]).ids.flatMap((id) => {
          const name = id === this.here.nodeId ? `node ${this.here.name}` : this.names.get(id);
          return name === undefined ? [] : [[id, name]];
        });
      case "explain-id":
        return this.byId(String((params as { id?: unknown })?.id));
    }
  }

  // ── leases ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  private async shape(client: ProcessId, shape: number, at: NodeId | undefined): Promise<Explanation> {
    const { control, asked } = this.effects;
    const ask = asked(client, shape);
    if (!control || !ask) return at === undefined ? this.waiting(client, shape) : { ...granted(), sentences: [] };
    const { key, demand } = ask;
    const params = { node: this.here.nodeId, key, demand, ...(at !== undefined && { at }) };
    // What is said here holds also when control is away.
    const policy = await control("explain-leases", params).catch(({ message }: Error): Explanation => {
      const sentence = `Why nodes were chosen control would know, which does not answer: ${message}`;
      return { ...granted(), sentences: [sentence] };
    });
    if (at !== undefined) return policy;
    // Control has divided what it was asked for before it answers this.
    const { waitsAt = [] } = asked(client, shape) ?? {};
    const more = waitsAt.length - NODES_ASKED_MAX;
    const there = await Promise.all(
      waitsAt.slice(0, NODES_ASKED_MAX).map((node) => this.waitingAt(node, client, shape)),
    );
    const sentences = [...policy.sentences, ...there.flat()];
    if (more > 0) sentences.push(`It waits at ${more} more nodes.`);
    return { ...policy, state: "waiting", sentences };
  }

  private async waitingAt(node: NodeId, client: ProcessId, shape: number): Promise<readonly string[]> {
    const isHere = node === this.here.nodeId;
    try {
      const { sentences } = isHere
        ? this.waiting(client, shape)
        : await this.asks.ask(node, "explain-waiting", { client, shape });
      const [first, ...more] = sentences;
      const name = isHere ? this.here.name : this.effects.node(nodeTag(node))?.name;
      return first === undefined || first === NONE_MISSING ? [] : [`At ${name ?? node}: ${first}`, ...more];
    } catch (error) {
      return [(error as MobulaError).message];
    }
  }

  private waiting(client: ProcessId, shape: number): Explanation {
    const explanation = this.effects.engine().explain(client, shape, wallMs());
    if (!explanation) return granted();
    return { state: "waiting", since: explanation.sinceMs, sentences: explanation.sentences, waitsFor: [] };
  }

  // ── objects and their tasks ────────────────────────────────────────────────────────────────────────────────────────

  /** Where it is, and who holds it. */
  private object(key: ObjectKey, name: StoredName | undefined): Explanation {
    const sentences: string[] = [];
    const copies = name === undefined ? [] : this.effects.copies(name);
    if (name !== undefined) {
      const maker = this.nameOf(nodeTagOf(name as string as ProcessId));
      const whole = copies.filter(([, isWhole]) => isWhole).map(([tag]) => this.nameOf(tag));
      const coming = copies.length - whole.length;
      const others = whole.filter((one) => one !== maker);
      sentences.push(
        `It was made at ${maker}; ${others.length === 0 ? "no other node has a copy" : `copies are at ${listed(others, COPIES_NAMED_MAX)}`}.`,
      );
      const wanted = this.effects.copiesWanted(name);
      if (wanted !== undefined) sentences.push(`${wanted} nodes are to keep it.`);
      if (coming > 0) sentences.push(`${coming} more ${coming === 1 ? "node is" : "nodes are"} getting one.`);
    }
    const { isPublished, holders, pins } = this.effects.holds(key);
    if (!isPublished) sentences.push("Only its owner knows it.");
    else {
      const held = holders.map((process) => this.processName(process));
      const owner = objectKeyOwner(key);
      const others = holders.includes(owner) ? " (its owner among them)" : "";
      sentences.push(
        held.length === 0
          ? "No process holds it."
          : `${held.length === 1 ? "One process holds" : `${held.length} processes hold`} it${others}: ${listed(held, HOLDERS_NAMED_MAX)}.`,
      );
      if (pins > 0) sentences.push(`${pins} other ${pins === 1 ? "value mentions" : "values mention"} it.`);
    }
    return { ...granted(), sentences };
  }

  /** An object's id or key, a task's id, an actor's id or that of a placement group. */
  private async byId(id: string): Promise<Explanation> {
    const key = keyOf(id);
    if (!key) {
      if (!/^[0-9a-f]{32}$/.test(id)) {
        throw new InvalidOptionError(
          `"${id}" is no id: that of an object has 56 hexadecimal digits, of a task 48, of an actor or a placement group 32`,
        );
      }
      if (this.effects.control) return this.effects.control("explain-id", { id });
      const explanation = this.effects.actor(id as ActorId);
      if (!explanation) throw new ActorNotFoundError(`no actor ${id} is known`);
      return explanation;
    }
    const tag = nodeTagOf(objectKeyOwner(key));
    if (tag === nodeTag(this.here.nodeId)) return this.ownObject(key);
    const node = this.effects.node(tag);
    if (node) return this.asks.ask(node.nodeId, "explain-id", { id: key });
    const name = this.nameOf(tag);
    const sentence = this.effects.isDead(tag)
      ? `The node of its owner, ${name}, is dead, and what was known there is gone.`
      : `No node is known by its id, which begins with ${tag}.`;
    return { ...granted(), state: "unknown", sentences: [sentence] };
  }

  private async ownObject(key: ObjectKey): Promise<Explanation> {
    const owner = objectKeyOwner(key);
    const seq = objectKeySeq(key);
    const byDeputy = this.effects.deputy(owner, seq);
    if (byDeputy) return byDeputy;
    const id = this.nextId++;
    return new Promise((resolve) => {
      const timer = setTimeout(() => settle(this.silent(key)), OWNER_MS);
      const settle = (explanation: Explanation): void => {
        clearTimeout(timer);
        this.owners.delete(id);
        resolve(explanation);
      };
      this.owners.set(id, settle);
      if (!this.effects.toOwner(owner, { t: "explain", id, seq })) settle(this.ownerGone(key));
    });
  }

  /** What an owner has said of what it was asked. */
  explained(id: number, explanation: Explanation): void {
    this.owners.get(id)?.(explanation);
  }

  private silent(key: ObjectKey): Explanation {
    const sentence = `Its owner, ${this.processName(objectKeyOwner(key))}, does not answer: its thread is busy.`;
    return { ...granted(), state: "unknown", sentences: [sentence, ...this.object(key, undefined).sentences] };
  }

  private ownerGone(key: ObjectKey): Explanation {
    const { sentences } = this.object(key, undefined);
    const gone = "The process that owned it has ended, and with it what was known of the task.";
    return { ...granted(), state: "unknown", sentences: [gone, ...sentences] };
  }

  private isAlive(node: NodeId): boolean {
    return this.effects.node(nodeTag(node))?.nodeId === node;
  }

  private nameOf(tag: string): string {
    if (tag === nodeTag(this.here.nodeId)) return `node ${this.here.name}`;
    const known = this.effects.node(tag);
    if (known) return `node ${known.name}`;
    for (const [id, name] of this.names) if (nodeTag(id) === tag) return name;
    return `node ${tag}`;
  }

  private processName(process: ProcessId): string {
    const tag = nodeTagOf(process);
    if (tag === nodeTag(this.here.nodeId)) return this.effects.describeProcess(process) ?? "this node, for others";
    return `one of ${this.nameOf(tag)}`;
  }
}

const NONE_MISSING = "No lease of this shape is missing.";

function granted(): Explanation {
  return { state: "granted", since: wallMs(), sentences: [NONE_MISSING], waitsFor: [] };
}

function listed(names: readonly string[], max: number): string {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  const words = [...counts].map(([name, count]) => (count > 1 ? `${count} × ${name}` : name));
  return words.slice(0, max).join(", ") + (words.length > max ? ` and ${words.length - max} more` : "");
}

const TASK_HEX = 48;
const OBJECT_HEX = 56;

/** Of an object's own key, and of the ids of objects and tasks that people see. */
export function keyOf(id: string): ObjectKey | undefined {
  if (/^[0-9a-f]{24}\.[0-9a-z]+$/.test(id)) return id as ObjectKey;
  if (!/^[0-9a-f]+$/.test(id) || (id.length !== TASK_HEX && id.length !== OBJECT_HEX)) return undefined;
  const seq = Number.parseInt(id.slice(OWNER_HEX, OWNER_HEX + 16), 16);
  return objectKey(id.slice(0, OWNER_HEX) as ProcessId, seq as Seq);
}
