/** The actor that a command names by its name or its class. */
import { actorsCalled } from "../state/mod.ts";
import type { ActorInfo } from "../wire/queries.ts";
import type { Asks } from "./cli-ask.ts";

const LISTED_MAX = 20;

/** One that lives if there is one, else one that did; undefined when there was none. @throws when several live. */
export async function actorCalled(ask: Asks, called: string): Promise<ActorInfo | undefined> {
  const found = actorsCalled(await ask("list-actors", { namespace: null }), called);
  const [first] = found;
  if (found.length <= 1 || first?.state === "dead") return first;
  const ids = found.map(({ actorId, name }) => `  ${actorId}${name === null ? "" : ` "${name}"`}`);
  throw new Error(
    `${found.length} actors are called "${called}"; say which by its id:\n${ids.slice(0, LISTED_MAX).join("\n")}`,
  );
}
