/** The runtime that this process's program uses now: a driver's between `init` and `shutdown`, a worker's always. */
import { NotInitializedError } from "../base/errors.ts";
import type { Client } from "../client/mod.ts";
import { SerializerRegistry } from "../codec/mod.ts";

export interface Current {
  readonly client: Client;
  readonly isDriver: boolean;
}

/** What the program registered before there was a client; given to each one. */
export const registered = new SerializerRegistry();

let current: Current | undefined;

export function setCurrent(next: Current | undefined): void {
  current = next;
  if (!next) return;
  for (const [type, serializer] of registered.list()) next.client.values.serializers.register(type, serializer);
}

export const findCurrent = (): Current | undefined => current;

/** @throws NotInitializedError before `init`. */
export function client(): Client {
  if (!current) throw new NotInitializedError("mobula is not running: await init() first");
  return current.client;
}
