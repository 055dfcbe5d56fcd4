/**
 * Passes on what processes say about keys to the homes of those keys, and answers back. Pure; one for each home.
 *
 * 1. What a process says goes to its own node, which splits it by home. To each home it says it in the order of the
 *    process, so the rule of holds holds: who gives one does so before it lets go of its own, on one ordered way.
 * 2. A value that mentions keys of other homes needs holds there. They are granted to the home of the value before it
 *    hears of the value: whoever publishes has holds on what it mentions.
 * 3. A home that keeps something for a process of another node watches it: at the first mention it tells that node, which
 *    answers when the process is gone, at once if it is already. So nobody need remember the dead.
 * 4. A node that dies takes its processes with it. Its keys are its heir's, to whom each home says again what its processes
 *    have asked and what its values mention.
 */
import { nodeTagOf, type ObjectKey, type ProcessId } from "../base/mod.ts";
import type { BetweenHomes } from "../wire/cluster-messages.ts";
import type { FromNode, HomeMessage, ObjectState, ValueRecord } from "../wire/messages.ts";
import { packFailure } from "../wire/mod.ts";
import { specKeys } from "./actor-record.ts";
import { type HoldsElsewhere, type Home, type HomeOptions, holderOf, homeOf as homeOfKey } from "./homes.ts";
import type { HeldKey } from "./keys.ts";

export interface RouterEffects {
  /** The engines of this home are told. */
  handle(from: ProcessId, message: HomeMessage): void;
  /** A process of another node, or another home, has something here from now on; it is gone when told so. */
  joined(process: ProcessId): void;
  /** @param retired it was ended on purpose, while it had nothing to do. */
  gone(process: ProcessId, retired: boolean): void;
  /** To a process of this node. */
  send(to: ProcessId, message: FromNode): void;
  /** To another home, in order. Nothing happens when that is dead. */
  toHome(home: Home, message: BetweenHomes): void;
  isDead(home: Home): boolean;
  /** The home itself, or who has inherited its keys; of what is said to a home, {@link toHome} sees to it. */
  resolve?(home: Home): Home;
}

export interface Router {
  readonly holdsElsewhere: HoldsElsewhere;
  /** A process of this node has come. */
  processJoined(process: ProcessId): void;
  /** It is gone, and all that it said was handled. */
  processGone(process: ProcessId, retired?: boolean): void;
  /** Something is kept here for a process of another node: its end is to be told. */
  watch(process: ProcessId): void;
  /** What a process of this node says. */
  fromProcess(from: ProcessId, message: HomeMessage): void;
  /** To a process, wherever it lives. */
  send(to: ProcessId, message: FromNode): void;
  fromHome(home: Home, message: BetweenHomes): void;
  /** A node says which processes it has: others are gone that have something here. */
  stated(home: Home, processes: readonly ProcessId[]): void;
  /**
   * @param homes that it was the home of: its own, and those that it had inherited.
   * @param mentioned what this home holds of them, because its values mention it.
   */
  homeDied(
    home: Home,
    homes?: readonly Home[],
    mentioned?: (homes: ReadonlySet<Home>) => readonly (readonly [ObjectKey, number])[],
  ): void;
  /** Another home is to hold these, which values here mention. */
  grantTo(home: Home, keys: Iterable<HeldKey>): void;
  /** What this home holds of keys of these homes is said to whoever has inherited them. */
  stateMentions(mentioned: readonly (readonly [ObjectKey, number])[]): void;
}

export function createRouter({ here, actors }: Omit<HomeOptions, "elsewhere">, effects: RouterEffects): Router {
  const homeOf = (key: HeldKey): Home => homeOfKey(key, actors);
  const resolve = (home: Home): Home => effects.resolve?.(home) ?? home;
  /** Processes of this node, with the homes that watch them. */
  const own = new Map<ProcessId, Set<Home>>();
  /** Processes of other nodes that have something here, by home. */
  const watched = new Map<Home, Set<ProcessId>>();
  /** What processes of this node have asked of other homes and were not told. */
  const awaited = new Map<ObjectKey, Set<ProcessId>>();

  const byHome = (keys: Iterable<HeldKey>): Map<Home, HeldKey[]> => Map.groupBy(keys, homeOf);

  /** Before anything is kept for it. */
  function mention(process: ProcessId): void {
    const home = nodeTagOf(process);
    if (home === here) return;
    let processes = watched.get(home);
    if (!processes) {
      processes = new Set();
      watched.set(home, processes);
    }
    if (processes.has(process)) return;
    if (effects.isDead(home)) return;
    processes.add(process);
    effects.joined(process);
    if (process !== holderOf(home)) effects.toHome(home, { t: "watch-processes", processes: [process] });
  }

  function say(home: Home, from: ProcessId, message: HomeMessage): void {
    if (resolve(home) === here) {
      hear(from, message);
      return;
    }
    // It watches whoever says something there; so it hears how one has ended that ends at once.
    own.get(from)?.add(resolve(home));
    effects.toHome(home, { t: "relay", from, message });
  }

  /** What is said to this home, by whomever. */
  function hear(from: ProcessId, message: HomeMessage): void {
    mention(from);
    if (message.t === "hold-grant") mention(message.to);
    effects.handle(from, message);
  }

  /** Holds for a home on what a value there will mention. */
  function grantMentions(from: ProcessId, home: Home, keys: Iterable<HeldKey>): void {
    for (const [of, mentioned] of byHome(keys)) {
      if (resolve(of) !== resolve(home))
        say(of, from, { t: "hold-grant", to: holderOf(home), keys: mentioned as ObjectKey[] });
    }
  }

  function sendRemote(to: ProcessId, message: FromNode): void {
    const home = nodeTagOf(to);
    if (home === here) effects.send(to, message);
    else effects.toHome(home, { t: "deliver", to, message });
  }

  function answered(to: ProcessId, message: FromNode): void {
    if (message.t !== "object-state") return;
    const waiting = awaited.get(message.key);
    if (waiting?.delete(to) && waiting.size === 0) awaited.delete(message.key);
  }

  return {
    holdsElsewhere: {
      grant: (key, to) => say(homeOf(key), holderOf(here), { t: "hold-grant", to, keys: [key as ObjectKey] }),
      release: (key, count) =>
        say(homeOf(key), holderOf(here), { t: "hold-release", holds: [[key as ObjectKey, count]] }),
    },

    watch: mention,

    grantTo: (home, keys) => grantMentions(holderOf(here), home, keys),

    processJoined: (process) => void own.set(process, new Set()),

    processGone(process, retired = false) {
      for (const home of own.get(process) ?? [])
        effects.toHome(home, { t: "processes-gone", processes: [process], ...(retired && { retired }) });
      own.delete(process);
      for (const [key, waiting] of awaited) if (waiting.delete(process) && waiting.size === 0) awaited.delete(key);
    },

    fromProcess(from, message) {
      switch (message.t) {
        case "object-publish": {
          for (const { key, value } of message.objects) if (value) grantMentions(from, homeOf(key), value.nested);
          for (const [home, objects] of Map.groupBy(message.objects, ({ key }) => homeOf(key)))
            say(home, from, { ...message, objects });
          return;
        }
        case "object-subscribe":
          for (const [home, keys] of byHome(message.keys)) {
            if (resolve(home) !== here) {
              for (const key of keys as ObjectKey[]) {
                if (effects.isDead(resolve(home))) effects.send(from, homeIsDead(key));
                else awaited.set(key, (awaited.get(key) ?? new Set()).add(from));
              }
            }
            say(home, from, { t: "object-subscribe", keys: keys as ObjectKey[] });
          }
          for (const [home, keys] of byHome(message.makersOf ?? []))
            say(home, from, { t: "object-subscribe", keys: [], makersOf: keys as ObjectKey[] });
          return;
        case "object-unpublish":
        case "hold-grant":
          for (const [home, keys] of byHome(message.keys)) say(home, from, { ...message, keys: keys as ObjectKey[] });
          return;
        case "hold-release":
        case "object-holds":
          for (const [home, holds] of Map.groupBy(message.holds, ([key]) => homeOf(key)))
            say(home, from, { ...message, holds });
          return;
        case "object-needs-told":
          hear(from, message);
          return;
        case "object-cancel":
        case "object-lost":
          say(homeOf(message.key), from, message);
          return;
        case "actor-create":
          grantMentions(from, actors, specKeys(message.spec));
          say(actors, from, message);
          return;
        default:
          say(actors, from, message);
      }
    },

    send: sendRemote,

    fromHome(home, message) {
      switch (message.t) {
        case "relay":
          hear(message.from, message.message);
          return;
        case "deliver":
          answered(message.to, message.message);
          effects.send(message.to, message.message);
          return;
        case "watch-processes": {
          const gone: ProcessId[] = [];
          for (const process of message.processes) {
            const watchers = own.get(process);
            if (watchers) watchers.add(home);
            else gone.push(process);
          }
          if (gone.length > 0) effects.toHome(home, { t: "processes-gone", processes: gone });
          return;
        }
        case "processes-gone":
          for (const process of message.processes) {
            if (watched.get(home)?.delete(process)) effects.gone(process, message.retired === true);
          }
          return;
      }
    },

    stated(home, processes) {
      const living = new Set(processes);
      for (const process of [...(watched.get(home) ?? [])]) {
        if (living.has(process) || process === holderOf(home)) continue;
        watched.get(home)?.delete(process);
        effects.gone(process, false);
      }
      for (const process of processes) mention(process);
    },

    homeDied(home, homes = [home], mentioned) {
      const processes = watched.get(home);
      watched.delete(home);
      for (const process of processes ?? []) effects.gone(process, false);
      for (const watchers of own.values()) watchers.delete(home);
      const of = new Set(homes);
      if (mentioned) this.stateMentions(mentioned(of));
      for (const [key, waiting] of [...awaited]) {
        const at = homeOf(key);
        if (!of.has(at)) continue;
        const heir = resolve(at);
        const isLost = heir !== here && effects.isDead(heir);
        if (isLost || heir === here) awaited.delete(key);
        for (const process of waiting) {
          if (isLost) effects.send(process, homeIsDead(key));
          else say(at, process, { t: "object-subscribe", keys: [key] });
        }
      }
    },

    stateMentions(mentioned) {
      for (const [home, holds] of Map.groupBy(mentioned, ([key]) => homeOf(key))) {
        if (!effects.isDead(resolve(home))) say(home, holderOf(here), { t: "object-holds", holds });
      }
    },
  };
}

function homeIsDead(key: ObjectKey): ObjectState {
  const value: ValueRecord = {
    at: "error",
    nested: [],
    bytes: packFailure({
      code: "OWNER_DIED",
      kind: "lost",
      message: `object ${key} has no value: the node of its owner has died, or is one that cannot be reached from this one; run its task again`,
    }),
  };
  return { t: "object-state", key, value };
}
