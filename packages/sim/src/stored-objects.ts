/** What is known of all stored objects of a run: who owns them, and whether their owners have let go of them. */
import {
  type NodeId,
  nodeTag,
  nodeTagOf,
  type ProcessId,
  type StoredName,
  storedNameTag,
} from "../../core/src/base/mod.ts";
import type { SimNode } from "./node.ts";
import type { SimProcess } from "./process.ts";
import type { World } from "./world.ts";

interface Stored {
  readonly owner: SimProcess;
  readonly maker: SimNode;
  isFreed: boolean;
}

/** What was put with copies. */
interface Copied {
  readonly copies: number;
  /** Who had it when so many did for the last time, of those that a loss was about to follow. Undefined: it is not acknowledged. */
  holders: readonly SimNode[] | undefined;
}

export class StoredObjects {
  private readonly world: World;
  private readonly objects = new Map<StoredName, Stored>();
  private readonly ambiguous = new Set<StoredName>();
  private readonly copied = new Map<StoredName, Copied>();

  constructor(world: World) {
    this.world = world;
  }

  get count(): number {
    return this.objects.size;
  }

  made(name: StoredName, owner: SimProcess, maker: SimNode): void {
    // Of two nodes that have one tag one is refused before others hear of it, but it does not know so at first.
    if (this.objects.has(name)) this.ambiguous.add(name);
    this.objects.set(name, { owner, maker, isFreed: false });
    this.world.note(owner.place.name, `owns ${name}`);
  }

  /** By whoever has the say over it. */
  freed(names: readonly StoredName[]): void {
    for (const name of names) {
      const object = this.objects.get(name);
      if (!object) throw new RangeError(`${name} was never made`);
      if (this.ambiguous.has(name)) continue;
      // That its home had let go of it may be lost with that, and then its heir does.
      if (object.isFreed && !this.isLost(object.owner.id)) this.world.fail("an object is freed once", name);
      object.isFreed = true;
      this.world.note(object.owner.place.name, `lets go of ${name}`);
    }
  }

  isFreed(name: StoredName): boolean {
    return this.objects.get(name)?.isFreed ?? true;
  }

  /** A node says that it cannot be had. */
  notToBeHad(name: StoredName, at: SimNode): void {
    const object = this.objects.get(name);
    if (!object || object.isFreed || this.ambiguous.has(name) || this.isLost(object.owner.id)) return;
    const holder = this.holderOf(name);
    if (!holder) this.checkLosses(name);
    else {
      const detail = `${name}, which ${at.place.name} cannot get, is at ${holder.place.name}`;
      this.world.failSoon("no object is lost while there is a copy", detail);
    }
  }

  /** What a node has made, another that has its tag does not have: for that the name is one that it has yet to give. */
  private isAt(node: SimNode, name: StoredName): boolean {
    const isItsOwn = storedNameTag(name) !== nodeTag(node.nodeId) || this.objects.get(name)?.maker === node;
    return isItsOwn && node.has(name);
  }

  private isLost(id: ProcessId): boolean {
    return this.world.lostTags.has(nodeTagOf(id));
  }

  /**
   * A node that was drained ends: what it has made for owners elsewhere others have too. A copy of what another has made does not
   * count as the object while nobody knows that that one is dead.
   */
  checkMoved(node: SimNode): void {
    for (const [name, { owner, isFreed }] of this.objects) {
      if (storedNameTag(name) !== nodeTag(node.nodeId)) continue;
      if (isFreed || !owner.isAlive || owner.node === node || this.isLost(owner.id) || !this.isAt(node, name)) continue;
      if (!this.living().some((other) => other !== node && this.isAt(other, name)))
        this.world.failSoon("a drain in order loses nothing", `${name}, which only ${node.place.name} had`);
    }
  }

  // ── put with copies ────────────────────────────────────────────────────────────────────────────────────────────────

  wanted(name: StoredName, copies: number): void {
    this.copied.set(name, { copies, holders: undefined });
  }

  /** How many were acknowledged. */
  get acknowledgedCopies(): number {
    let count = 0;
    for (const { holders } of this.copied.values()) if (holders) count++;
    return count;
  }

  /** The home says that so many nodes keep it. @param isShort not so many, as there are fewer. */
  acknowledged(name: StoredName, home: SimNode, isShort: boolean): void {
    const copied = this.copied.get(name);
    if (!copied || isShort) return;
    // Some may be lost of which the home has not heard: that is a loss since.
    const holders = [...this.world.nodes.values()].filter(
      (node) => this.isAt(node, name) && (node === home || home.neighbour(nodeTag(node.nodeId)) === node),
    );
    copied.holders = holders;
    if (holders.length >= copied.copies || this.ambiguous.has(name)) return;
    const detail = `${name}, of which ${copied.copies} are promised, is at ${names(holders)}`;
    this.world.failSoon("what is put with copies is at so many nodes", detail);
  }

  /** A node is about to be lost. */
  losing(): void {
    for (const [name, copied] of this.copied) {
      if (!copied.holders || this.isFreed(name)) continue;
      const holders = this.living().filter((node) => this.isAt(node, name));
      if (holders.length >= copied.copies) copied.holders = holders;
    }
  }

  /** Nobody has it any more: so as many nodes are lost as were to have it, before others could take their places. */
  checkLosses(name: StoredName): void {
    const { copies = 0, holders } = this.copied.get(name) ?? {};
    if (!holders || this.ambiguous.has(name)) return;
    const lost = holders.filter((node) => this.isOver(node));
    if (lost.length >= copies) return;
    const detail = `${name}, of which ${copies} were promised, is nowhere, and of ${names(holders)} only ${names(lost)} are lost`;
    this.world.failSoon("what is put with copies survives the loss of all but one", detail);
  }

  /** What fewer nodes keep than are to, though there are more. */
  get lacking(): string | undefined {
    const able = this.living().filter(({ mayKeep }) => mayKeep);
    for (const [name, { copies }] of this.copied) {
      const { owner } = this.objects.get(name) ?? {};
      if (this.isFreed(name) || this.ambiguous.has(name) || !owner?.isAlive || this.isLost(owner.id)) continue;
      const holders = this.living().filter((node) => this.isAt(node, name));
      if (holders.length > 0 && holders.length < Math.min(copies, able.length))
        return `${name}, of which ${copies} are wanted, is at ${names(holders)}`;
    }
    return undefined;
  }

  private isOver({ isOver, nodeId }: SimNode): boolean {
    return isOver || this.world.lostTags.has(nodeTag(nodeId));
  }

  /** A node that lives and has all of it. */
  holderOf(name: StoredName): SimNode | undefined {
    for (const node of this.living()) if (this.isAt(node, name)) return node;
    return undefined;
  }

  private living(): SimNode[] {
    return [...this.world.nodes.values()].filter((node) => !this.isOver(node));
  }

  /**
   * Objects that are left whose owner lives on this node; those of dead owners are the node's to sweep, by owner. Of one whose machine
   * was lost together with the word that it was made, nobody knows, and there is nothing left.
   */
  leaked({ nodeId }: { readonly nodeId: NodeId }): readonly StoredName[] {
    return [...this.objects].flatMap(([name, { owner, isFreed }]) => {
      if (isFreed || this.ambiguous.has(name) || !owner.isAlive || owner.node.nodeId !== nodeId) return [];
      return this.world.lostTags.has(storedNameTag(name)) && !this.holderOf(name) ? [] : [name];
    });
  }

  /** It has nothing of objects whose owners have let go of them, or have gone with their node; and no other memory is taken. */
  isTidy(node: SimNode): boolean {
    return this.overdue(node) === undefined;
  }

  checkTidy(node: SimNode): void {
    const overdue = this.overdue(node);
    if (overdue !== undefined) this.world.fail("a copy goes with its object", `${overdue} at ${node.place.name}`);
  }

  private overdue(node: SimNode): string | undefined {
    // What a lost machine gave may be given back by nobody, so the heirs of its objects may have to keep some.
    const inherited = new Set(this.living().flatMap(({ control }) => control.inheritedHomes()));
    for (const [name, { owner, isFreed }] of this.objects) {
      if (isFreed && node.copiesOf(name) > 0) return `a record of copies of ${name}`;
      const isOver = isFreed || (this.isLost(owner.id) && !inherited.has(nodeTagOf(owner.id)));
      if (isOver && this.isAt(node, name)) return name;
    }
    return node.store.lingering === 0 ? undefined : `memory of ${node.store.lingering} objects`;
  }
}

const names = (nodes: readonly SimNode[]): string => nodes.map(({ place }) => place.name).join(", ") || "none";
