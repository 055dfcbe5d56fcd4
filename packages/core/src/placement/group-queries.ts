/** Answers to what programs ask of placement groups. */
import type { Clock } from "../base/clock.ts";
import { errorFromCode } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { Queries } from "../wire/queries.ts";
import type { GroupHost, Refusal } from "./group-host.ts";

type GroupMethod = "create-group" | "await-group" | "remove-group" | "find-group" | "why-group";

const METHODS: ReadonlySet<string> = new Set<GroupMethod>([
  "create-group",
  "await-group",
  "remove-group",
  "find-group",
  "why-group",
]);

/** What takes longer is asked about again, before whoever asks gives up. */
const WAIT_MS = 2_000;

export const isAboutGroups = ({ method }: { readonly method: string }): boolean => METHODS.has(method);

/**
 * Rejects with a MobulaError that says why there is no such group.
 *
 * @param clock milliseconds since 1970.
 * @param by the node that asks, in a cluster.
 */
export function answerGroupQuery(
  host: GroupHost,
  method: string,
  params: unknown,
  clock: Clock,
  by?: NodeId,
): Promise<Queries[GroupMethod]["result"]> {
  const { later } = clock;
  switch (method as GroupMethod) {
    case "create-group": {
      const request = params as Queries["create-group"]["params"];
      host.create(request, by);
      return whenReady(host, request.groupId, later);
    }
    case "await-group":
      return whenReady(host, (params as Queries["await-group"]["params"]).groupId, later);
    case "find-group": {
      const { namespace, name } = params as Queries["find-group"]["params"];
      return Promise.resolve(host.find(namespace, name) ?? null);
    }
    case "remove-group":
      return new Promise((resolve) => {
        const takeBack = later(WAIT_MS, () => resolve(false));
        const { groupId } = params as Queries["remove-group"]["params"];
        const removed = (): void => {
          takeBack();
          resolve(true);
        };
        host.remove(groupId, removed, by);
      });
    case "why-group": {
      const { groupId } = params as Queries["why-group"]["params"];
      const sentences = [`No placement group ${groupId} is known.`];
      const unknown = { state: "unknown", since: clock.nowMs(), sentences, waitsFor: [] };
      return Promise.resolve(host.explain(groupId) ?? unknown);
    }
  }
}

function whenReady(host: GroupHost, groupId: string, later: Clock["later"]): Promise<boolean> {
  return new Promise((resolve, reject) => {
    let leave = (): void => {};
    const takeBack = later(WAIT_MS, () => {
      leave();
      resolve(false);
    });
    leave = host.whenReady(groupId, (refusal) => {
      takeBack();
      if (refusal) reject(errorOf(refusal));
      else resolve(true);
    });
  });
}

const errorOf = ({ code, errorKind, message }: Refusal): Error => errorFromCode(code, errorKind, message);
