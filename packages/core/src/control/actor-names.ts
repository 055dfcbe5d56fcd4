/** Which actor has a name, and which wait until one that is ending is dead. */
import { type ActorRecord, isEnding, nameKey } from "./actor-record.ts";

export class ActorNames {
  private readonly holders = new Map<string, ActorRecord>();
  private readonly queues = new Map<string, ActorRecord[]>();

  /** Who has the name that this actor has or waits for. */
  holderOf({ namespace, options: { name } }: ActorRecord): ActorRecord | undefined {
    return name === undefined ? undefined : this.find(namespace, name);
  }

  find(namespace: string, name: string): ActorRecord | undefined {
    return this.holders.get(nameKey(namespace, name));
  }

  /** The name is this actor's, if it has one. */
  give(actor: ActorRecord): void {
    const key = keyOf(actor);
    if (key !== undefined) this.holders.set(key, actor);
  }

  /**
   * The actor itself: it has its name, or none. Undefined: it waits for it. Otherwise another has the name and is not ending.
   */
  claim(actor: ActorRecord): ActorRecord | undefined {
    const key = keyOf(actor);
    const holder = key === undefined ? actor : this.holders.get(key);
    if (key === undefined || holder === undefined) {
      this.give(actor);
      return actor;
    }
    if (!isEnding(holder)) return holder;
    const queue = this.queues.get(key);
    if (queue) queue.push(actor);
    else this.queues.set(key, [actor]);
    return undefined;
  }

  /** Whoever waited for the name of this actor, which is dead; in order. Nobody when the name is another's. */
  release(actor: ActorRecord): readonly ActorRecord[] {
    const key = keyOf(actor);
    if (key === undefined || this.holders.get(key) !== actor) return [];
    this.holders.delete(key);
    return this.takeQueue(key);
  }

  /** Whoever waited for the name of this actor, which is not ending any more. */
  takeWaiting(actor: ActorRecord): readonly ActorRecord[] {
    const key = keyOf(actor);
    return key === undefined ? [] : this.takeQueue(key);
  }

  private takeQueue(key: string): readonly ActorRecord[] {
    const queue = this.queues.get(key) ?? [];
    this.queues.delete(key);
    return queue;
  }
}

const keyOf = ({ namespace, options: { name } }: ActorRecord): string | undefined =>
  name === undefined ? undefined : nameKey(namespace, name);
