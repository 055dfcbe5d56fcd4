/**
 * Objects outlive the node of their owner while somebody holds them: another node, the *heir*, goes on as their home.
 *
 * 1. Control names an heir for each node. The home sends it the values of what processes of other nodes hold, and gives it holds on
 *    what those mention. So nothing of this is done for refs that stay on their node.
 * 2. The node is dead: every node says to the heir what its processes hold of the dead one's objects, what its own values mention of
 *    them, what its processes wait for, and what of them lies in its store. It says holds once more a while later, for a ref may have
 *    been under way the first time whose grant went down with the old home; the greater number counts.
 * 3. When all have said so once, who waits for what has no value is told. When all have said so twice, what nobody holds is let go of.
 * 4. An heir that dies has an heir itself, which has been sent all of this as well. Who was to be the heir before another was named, and
 *    has not heard that it need not any more, hands on what it keeps, and keeps it for that one until it is told that it has it.
 *
 * A node that ends in order waits until others keep the bytes that only it has. Lost with one that does not: bytes of which there is
 * no copy, what was still to be delivered, and what had no heir, because that died at the same moment.
 */
import { later } from "../base/clock.ts";
import { type NodeId, nodeTag, type ObjectKey, type ProcessId, storedNameTag } from "../base/ids.ts";
import { type Control, type Home, holderOf, type Router } from "../control/mod.ts";
import type { Pulled } from "../pull/mod.ts";
import type { AboutCopies, BetweenHomes, ForHeir, HeirDrops, HeirKeeps, HomeStated } from "../wire/cluster-messages.ts";
import type { ObjectsStated, StateObjects, ValueRecord } from "../wire/messages.ts";
import type { NodeObjects } from "./objects.ts";

export interface SuccessionEffects {
  readonly control: Control;
  readonly router: Router;
  readonly objects: NodeObjects;
  resolve(home: Home): Home;
  isDead(home: Home): boolean;
  /** Nodes that live, without this one. */
  living(): Iterable<Home>;
  toHome(home: Home, message: ForHeir): void;
  toHeir(heir: Home, message: HeirKeeps | HeirDrops): void;
  /** Drivers, workers, deputies. */
  processes(): readonly ProcessId[];
  send(to: ProcessId, message: StateObjects): void;
  /** Calls it after so long; what it returns takes that back. Left out: by the clock of the machine. */
  readonly later?: typeof later;
}

/** What was under way when processes first said what they hold has arrived by then. */
const SAID_AGAIN_MS = 2_000;
const SAID_TIMES = 2;
/** A process whose thread is busy says what it holds later; who waits for a value is not left waiting for that. */
const VALUES_WITHIN_MS = 3_000;
/** How long a node that ends waits for others to take what only it has, and first for what ends with it to let go. */
const HAND_ON_MS = 5_000;
const LET_GO_MS = 200;
/** Of values in one message. */
const PARCEL_BYTES = 2 ** 20;

/** A home whose heir this node is, while not all have spoken. */
interface Inheritance {
  /** How often they are still to speak. */
  readonly unheard: Map<Home, number>;
  /** All have spoken once, or have had the time to. */
  isStated: boolean;
  /** Takes back the time by which it is over for who waits. */
  readonly endWait: () => void;
}

interface Question {
  readonly homes: readonly Home[];
  /** Of all of them. When that dies too, another question is asked for the next one. */
  readonly heir: Home;
  readonly waitsFor: Set<ProcessId>;
  readonly timesLeft: number;
}

export class Succession {
  private readonly here: Home;
  private readonly effects: SuccessionEffects;
  private heir: Home | undefined;
  /** For the heir, at the end of this turn; undefined: it is to drop them. */
  private news = new Map<ObjectKey, ValueRecord | undefined>();
  private readonly inheritances = new Map<Home, Inheritance>();
  /** What is for the heir of a home of whose death this node has not heard. */
  private readonly early = new Map<Home, { readonly from: Home; readonly message: ForHeir["message"] }[]>();
  private readonly questions = new Map<number, Question>();
  private readonly later: typeof later;
  private readonly due = new Set<() => void>();
  private nextId = 1;
  private handingOn: (() => void) | undefined;

  constructor(here: NodeId, effects: SuccessionEffects) {
    this.here = nodeTag(here);
    this.effects = effects;
    this.later = effects.later ?? later;
  }

  close(): void {
    for (const takeBack of this.due) takeBack();
    for (const { endWait } of this.inheritances.values()) endWait();
  }

  // ── a home that has an heir ────────────────────────────────────────────────────────────────────────────────────────

  heirNamed(heir: Home | undefined): void {
    const { effects, heir: before } = this;
    if (before !== undefined && !effects.isDead(before)) {
      // With what it was about to be told to drop.
      const keys = [...new Set([...[...effects.control.heldAbroad()].map(([key]) => key), ...this.news.keys()])];
      if (keys.length > 0) effects.toHeir(before, { t: "heir-drops", keys });
    }
    this.heir = heir;
    this.news.clear();
    for (const [key, value] of effects.control.heldAbroad()) this.backUp(key, value);
  }

  backUp(key: ObjectKey, value: ValueRecord | undefined): void {
    this.handingOn?.();
    if (this.heir === undefined) return;
    this.news.set(key, value);
    if (this.news.size === 1) queueMicrotask(this.tellHeir);
  }

  private readonly tellHeir = (): void => {
    const { heir, news, effects } = this;
    this.news = new Map();
    if (heir === undefined) return;
    const keys = [...news].flatMap(([key, value]) => (value ? [] : [key]));
    const kept = [...news].flatMap(([key, value]) => (value ? [[key, value] as const] : []));
    this.give(heir, kept, (message) => effects.toHeir(heir, message));
    if (keys.length > 0) effects.toHeir(heir, { t: "heir-drops", keys });
  };

  /** Values, with holds on what they mention. */
  private give(
    heir: Home,
    values: readonly (readonly [ObjectKey, ValueRecord])[],
    send: (message: HeirKeeps) => void,
  ): void {
    const mentioned = values.flatMap(([, { nested }]) => nested);
    if (mentioned.length > 0) this.effects.router.grantTo(heir, mentioned);
    let objects: HeirKeeps["objects"][number][] = [];
    let bytes = 0;
    for (const [at, [key, value]] of values.entries()) {
      objects.push({ key, value });
      bytes += value.at === "stored" ? 0 : value.bytes.length;
      if (bytes <= PARCEL_BYTES && at < values.length - 1) continue;
      send({ t: "heir-keeps", objects });
      objects = [];
      bytes = 0;
    }
  }

  /** What processes of other nodes hold of this one's owners, and lies in the store here. */
  lent(): readonly Pulled[] {
    const lent: Pulled[] = [];
    for (const [, value] of this.effects.control.heldAbroad()) {
      if (value.at === "stored" && storedNameTag(value.name) === this.here)
        lent.push({ name: value.name, size: value.size, home: this.here });
    }
    return lent;
  }

  /** The node ends in order. Resolves when others keep what only it had, or it is time to end all the same. */
  async handOn(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    let isDue = false;
    this.handingOn = () => {
      const lent = this.lent();
      if (lent.length === 0 || (isDue && this.effects.objects.move(lent))) resolve();
    };
    const begin = this.later(LET_GO_MS, () => {
      isDue = true;
      this.moved();
    });
    const deadline = this.later(HAND_ON_MS, resolve);
    this.handingOn();
    await promise;
    this.handingOn = undefined;
    begin();
    deadline();
  }

  /** Something that was to be kept by others is. */
  moved(): void {
    this.handingOn?.();
  }

  // ── a node is dead ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** @param homes whose objects were its own, or inherited by it. */
  died(tag: Home, homes: readonly Home[]): void {
    const { control, router, objects, resolve, isDead } = this.effects;
    const heir = resolve(tag);
    const isHeir = heir === this.here;
    const isElsewhere = !isHeir && !isDead(heir);
    // Control may have named another heir when the home could not hear of it any more.
    if (isElsewhere) this.give(heir, control.keptFor(homes), (message) => this.tell(tag, message));
    control.homesDied(homes, isHeir, isElsewhere ? heir : undefined);
    router.homeDied(tag, homes, control.objectsMentioned);
    if (isHeir) objects.inheriting();
    objects.nodeDied(tag, homes);
    if (isHeir) for (const home of homes) this.inherit(home);
    if (isHeir || !isDead(heir)) this.ask(homes, heir, SAID_TIMES);
    else for (const home of homes) this.early.delete(home);
    for (const [home, { unheard }] of [...this.inheritances]) if (unheard.delete(tag)) this.look(home);
  }

  private ask(homes: readonly Home[], heir: Home, timesLeft: number): void {
    const { processes, send } = this.effects;
    const id = this.nextId++;
    const asked = processes();
    this.questions.set(id, { homes, heir, waitsFor: new Set(asked), timesLeft });
    for (const process of asked) send(process, { t: "state-objects", id, homes });
    this.settle(id);
  }

  answered(from: ProcessId, { id }: ObjectsStated): void {
    if (this.questions.get(id)?.waitsFor.delete(from)) this.settle(id);
  }

  processGone(process: ProcessId): void {
    for (const [id, { waitsFor }] of [...this.questions]) if (waitsFor.delete(process)) this.settle(id);
  }

  private settle(id: number): void {
    const question = this.questions.get(id);
    if (!question || question.waitsFor.size > 0) return;
    this.questions.delete(id);
    const { homes, heir, timesLeft } = question;
    const isStillHeir = (): boolean => homes.every((home) => this.effects.resolve(home) === heir);
    if (!isStillHeir()) return;
    for (const home of homes) this.say(home, { t: "home-stated" });
    if (timesLeft <= 1) return;
    const takeBack = this.later(SAID_AGAIN_MS, () => {
      this.due.delete(takeBack);
      if (!isStillHeir()) return;
      this.effects.router.stateMentions(this.effects.control.objectsMentioned(new Set(homes)));
      this.ask(homes, heir, timesLeft - 1);
    });
    this.due.add(takeBack);
  }

  private say(home: Home, message: HomeStated): void {
    if (this.effects.resolve(home) === this.here) this.stated(this.here, home);
    else this.tell(home, message);
  }

  private tell(home: Home, message: HomeStated | HeirKeeps): void {
    this.effects.toHome(home, { t: "for-heir", of: home, message });
  }

  // ── the heir ───────────────────────────────────────────────────────────────────────────────────────────────────────

  hear(from: Home, message: HeirKeeps | HeirDrops | ForHeir): void {
    const { control, isDead, resolve } = this.effects;
    switch (message.t) {
      case "heir-keeps":
        control.keepFor(from, valuesIn(message));
        return;
      case "heir-drops":
        control.dropFor(from, message.keys);
        return;
      case "for-heir": {
        const { of } = message;
        if (resolve(of) === this.here) this.heard(from, of, message.message);
        // Of a death that this node has not heard of: of the home itself, or of one that has inherited it before.
        else if (!isDead(resolve(of)))
          this.early.set(of, [...(this.early.get(of) ?? []), { from, message: message.message }]);
        return;
      }
    }
  }

  private heard(from: Home, of: Home, message: ForHeir["message"]): void {
    if (message.t === "home-stated") this.stated(from, of);
    else if (message.t === "heir-keeps") this.handedOn(from, valuesIn(message));
    else if (isAboutCopies(message)) this.effects.objects.hear(from, message);
    else this.effects.router.fromHome(from, message);
  }

  private handedOn(from: Home, values: readonly (readonly [ObjectKey, ValueRecord])[]): void {
    const { control, toHeir } = this.effects;
    const keys = new Set(values.map(([key]) => key));
    control.handedOn(values);
    toHeir(from, { t: "heir-drops", keys: [...keys] });
    // What the heir of this node keeps for it is dropped with that.
    if (from === this.heir) for (const [key, value] of control.heldAbroad()) if (keys.has(key)) this.backUp(key, value);
  }

  private inherit(home: Home): void {
    const unheard = new Map([...this.effects.living(), this.here].map((node) => [node, SAID_TIMES]));
    const endWait = this.later(VALUES_WITHIN_MS, () => this.endWaits(home));
    this.inheritances.set(home, { unheard, isStated: false, endWait });
    const early = this.early.get(home) ?? [];
    this.early.delete(home);
    for (const { from, message } of early) this.heard(from, home, message);
  }

  private stated(from: Home, home: Home): void {
    const { unheard } = this.inheritances.get(home) ?? {};
    const left = unheard?.get(from);
    if (left === undefined) return;
    if (left > 1) unheard?.set(from, left - 1);
    else unheard?.delete(from);
    this.look(home);
  }

  /** What nobody has said he has is nowhere. */
  private endWaits(home: Home): void {
    const { control, objects } = this.effects;
    const inheritance = this.inheritances.get(home);
    if (!inheritance || inheritance.isStated) return;
    inheritance.isStated = true;
    control.valuesInherited([home]);
    for (const { isStated } of this.inheritances.values()) if (!isStated) return;
    objects.allStated();
  }

  private look(home: Home): void {
    const inheritance = this.inheritances.get(home);
    if (!inheritance) return;
    const { unheard, endWait } = inheritance;
    const { control, objects } = this.effects;
    for (const left of unheard.values()) if (left === SAID_TIMES) return;
    endWait();
    this.endWaits(home);
    if (unheard.size > 0) return;
    this.inheritances.delete(home);
    control.holdsInherited([home]);
    if (this.inheritances.size === 0) objects.inherited();
  }
}

const valuesIn = ({ objects }: HeirKeeps): readonly (readonly [ObjectKey, ValueRecord])[] =>
  objects.map(({ key, value }) => [key, value]);

const isAboutCopies = (message: BetweenHomes | AboutCopies): message is AboutCopies => message.t.startsWith("copy-");

/** As whom a node holds what its values mention. */
export const nodeHolder = (node: NodeId): ProcessId => holderOf(nodeTag(node));
