/**
 * Nodes around the group engine for tests: each has an ordered way to the engine and back, and grants what fits. Which way
 * moves next is the test's choice. Virtual time; no randomness of its own.
 */
import type { JobId, NodeId } from "../base/ids.ts";
import { type Resources, type ResourceUnits, toUnits } from "../base/resources.ts";
import { type Free, fits, freeOf, takeFrom } from "./amounts.ts";
import { ClusterView } from "./cluster-view.ts";
import { GroupEngine, type GroupEngineOptions } from "./group-engine.ts";
import type { GroupCommand, GroupEvent, GroupRecord, GroupSpec } from "./group-protocol.ts";
import { type Labels, parseSelector } from "./labels.ts";
import { join, type NodeSpec, nodeId } from "./test-cluster.ts";

export function specOf(
  groupId: string,
  bundles: readonly Resources[],
  more: Partial<GroupSpec> = {},
  labels: readonly Labels[] = [],
): GroupSpec {
  return {
    groupId,
    bundles: bundles.map((of) => ({ units: toUnits(of), selectors: labels.map(parseSelector) })),
    strategy: "PACK",
    priority: 0,
    jobId: "j1" as JobId,
    namespace: "",
    lifetime: "owner",
    ...more,
  };
}

type NodeCommand = Extract<GroupCommand, { readonly nodeId: NodeId }>;

interface Held {
  readonly units: readonly ResourceUnits[];
  isCommitted: boolean;
}

export interface FakeNode {
  readonly name: string;
  readonly spec: Resources | NodeSpec;
  readonly id: NodeId;
  readonly total: Free;
  /** By "group attempt". */
  readonly held: Map<string, Held>;
  leases: ResourceUnits;
  readonly toNode: NodeCommand[];
  readonly toEngine: GroupEvent[];
  isAlive: boolean;
  isDraining: boolean;
}

export class GroupWorld {
  view = new ClusterView();
  engine: GroupEngine;
  readonly nodes = new Map<string, FakeNode>();
  readonly commands: GroupCommand[] = [];
  /** What control has saved. */
  readonly records = new Map<string, GroupRecord>();
  readonly ready = new Map<string, readonly NodeId[]>();
  nowMs = 0;
  private readonly options: GroupEngineOptions;
  private restarts = 0;

  constructor(nodes: readonly (Resources | NodeSpec)[], options: Partial<GroupEngineOptions> = {}) {
    this.options = { infeasibleTimeoutMs: 1_000, firstAttempt: 1, ...options };
    this.engine = new GroupEngine(this.view, this.options);
    for (const [index, spec] of nodes.entries()) this.addNode(`n${index + 1}`, spec);
  }

  addNode(name: string, spec: Resources | NodeSpec): void {
    join(this.view, name, spec);
    const node = this.view.node(nodeId(name));
    if (!node) throw new Error("it has just joined");
    const total = freeOf(node.state.total);
    this.nodes.set(name, {
      name,
      spec,
      isDraining: false,
      id: node.id,
      total,
      held: new Map(),
      leases: {},
      toNode: [],
      toEngine: [],
      isAlive: true,
    });
    this.send({ kind: "view-changed" });
  }

  send(event: GroupEvent): GroupCommand[] {
    const commands = this.engine.step(event, this.nowMs);
    for (const command of commands) this.obey(command);
    return commands;
  }

  /** Control is killed and starts again from what it saved; nodes report what they hold. */
  restart(): void {
    // What was on its way from nodes is lost with the connections, and so is what was on its way to them.
    for (const node of this.nodes.values()) {
      node.toNode.length = 0;
      node.toEngine.length = 0;
    }
    this.restarts++;
    this.view = new ClusterView();
    const firstAttempt = this.options.firstAttempt + 1_000_000 * this.restarts;
    this.engine = new GroupEngine(this.view, { ...this.options, firstAttempt });
    for (const record of [...this.records.values()]) this.send({ kind: "group-restored", record });
    for (const node of this.nodes.values()) {
      join(this.view, node.name, node.spec);
      if (!node.isAlive) {
        this.view.apply({ kind: "node-died", nodeId: node.id });
        this.send({ kind: "node-died", nodeId: node.id });
        continue;
      }
      if (node.isDraining) this.drain(node.name);
      this.report(node.name);
    }
    for (const node of this.nodes.values()) {
      if (!node.isAlive) continue;
      for (const [key, { isCommitted }] of node.held) {
        const [groupId = "", attempt] = key.split(" ");
        node.toEngine.push({
          kind: "bundles-reported",
          groupId,
          attempt: Number(attempt),
          nodeId: node.id,
          isCommitted,
        });
      }
    }
  }
  kill(name: string): void {
    const node = this.nodes.get(name);
    if (!node?.isAlive) return;
    node.isAlive = false;
    node.held.clear();
    node.toNode.length = 0;
    node.toEngine.length = 0;
    this.view.apply({ kind: "node-died", nodeId: node.id });
    this.send({ kind: "node-died", nodeId: node.id });
  }

  drain(name: string): void {
    const node = this.nodes.get(name);
    if (node) node.isDraining = true;
    this.view.apply({ kind: "node-draining", nodeId: nodeId(name) });
    this.send({ kind: "node-draining", nodeId: nodeId(name) });
  }

  /** The node says what it has. */
  report(name: string): void {
    const node = this.nodes.get(name);
    if (!node?.isAlive) return;
    const free = this.freeOf(node);
    const lasting: Record<string, number> = {};
    for (const { units } of node.held.values()) {
      for (const one of units) for (const key in one) lasting[key] = (lasting[key] ?? 0) + (one[key] ?? 0);
    }
    this.view.apply({ kind: "node-reported", nodeId: node.id, free: free.units, gpus: free.gpus, lasting });
    this.send({ kind: "view-changed" });
  }

  /** So much is used by leases from now on. */
  lease(name: string, resources: Resources): void {
    const node = this.nodes.get(name);
    if (!node) return;
    const units = toUnits(resources);
    if (fits(this.freeOf({ ...node, leases: {} }), units)) node.leases = units;
  }

  freeOf({ total, held, leases }: Pick<FakeNode, "total" | "held" | "leases">): Free {
    let free = takeFrom(total, leases);
    for (const { units } of held.values()) for (const one of units) free = takeFrom(free, one);
    return free;
  }

  /** One message moves, if there is one: to the node or from it. */
  move(name: string, way: "toNode" | "toEngine"): void {
    const node = this.nodes.get(name);
    if (!node?.isAlive) return;
    if (way === "toEngine") {
      const event = node.toEngine.shift();
      if (event) this.send(event);
      return;
    }
    const command = node.toNode.shift();
    if (command) this.carryOut(node, command);
  }

  /** Until nothing moves. */
  settle(): void {
    for (let step = 0; step < 10_000; step++) {
      let moved = false;
      for (const node of this.nodes.values()) {
        if (!node.isAlive || node.toNode.length + node.toEngine.length === 0) continue;
        moved = true;
        this.move(node.name, "toNode");
        this.move(node.name, "toEngine");
      }
      if (!moved) return;
    }
    throw new Error("it never settles");
  }

  private obey(command: GroupCommand): void {
    this.commands.push(command);
    if ("nodeId" in command) {
      const node = [...this.nodes.values()].find(({ id }) => id === command.nodeId);
      if (node?.isAlive) node.toNode.push(command);
      return;
    }
    if (command.kind === "save-group") this.records.set(command.record.spec.groupId, command.record);
    if (command.kind === "forget-group") this.records.delete(command.groupId);
    if (command.kind === "group-ready") this.ready.set(command.groupId, command.nodes);
    if (command.kind === "group-lost-bundles" || command.kind === "group-removed") this.ready.delete(command.groupId);
  }

  private carryOut(node: FakeNode, command: NodeCommand): void {
    if (command.kind === "earmark" || command.kind === "clear-earmark") return;
    const { groupId, attempt } = command;
    const key = `${groupId} ${attempt}`;
    const answer = { groupId, attempt, nodeId: node.id };
    const held = node.held.get(key);
    switch (command.kind) {
      case "prepare-bundles": {
        const units = command.bundles.map((bundle) => bundle.units);
        const isEnough =
          held !== undefined || (this.takesAll(node, units) && this.view.node(node.id)?.state.status === "alive");
        if (!isEnough) {
          node.toEngine.push({ kind: "bundles-refused", reason: "too little room", ...answer });
          return;
        }
        node.held.set(key, { units, isCommitted: command.commit });
        node.toEngine.push({ kind: command.commit ? "bundles-committed" : "bundles-prepared", ...answer });
        return;
      }
      case "commit-bundles":
        if (!held) throw new Error(`${node.name} is told to commit ${key}, which it does not hold`);
        held.isCommitted = true;
        node.toEngine.push({ kind: "bundles-committed", ...answer });
        return;
      case "return-bundles":
        node.held.delete(key);
        node.toEngine.push({ kind: "bundles-returned", ...answer });
        return;
    }
  }

  private takesAll(node: FakeNode, units: readonly ResourceUnits[]): boolean {
    let free = this.freeOf(node);
    for (const one of units) {
      if (!fits(free, one)) return false;
      free = takeFrom(free, one);
    }
    return true;
  }
}
