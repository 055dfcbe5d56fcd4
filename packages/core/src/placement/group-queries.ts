/** Answers to what programs ask of placement groups. */
import type { Queries } from "../wire/queries.ts";
import type { GroupHost } from "./group-host.ts";

type GroupMethod = "create-group" | "remove-group" | "find-group";

const METHODS: ReadonlySet<string> = new Set<GroupMethod>(["create-group", "remove-group", "find-group"]);

/** A removal that takes longer is asked about again, before whoever asks gives up. */
const REMOVAL_MS = 2_000;

export const isAboutGroups = ({ method }: { readonly method: string }): boolean => METHODS.has(method);

/** @throws MobulaError as the host does; rejects with it too. */
export function answerGroupQuery(
  host: GroupHost,
  method: string,
  params: unknown,
): Promise<Queries[GroupMethod]["result"]> {
  switch (method as GroupMethod) {
    case "create-group":
      host.create(params as Queries["create-group"]["params"]);
      return Promise.resolve(null);
    case "find-group": {
      const { namespace, name } = params as Queries["find-group"]["params"];
      return Promise.resolve(host.find(namespace, name) ?? null);
    }
    case "remove-group":
      return removed(host, (params as Queries["remove-group"]["params"]).groupId);
  }
}

function removed(host: GroupHost, groupId: string): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), REMOVAL_MS);
    host.remove(groupId, () => {
      clearTimeout(timer);
      resolve(true);
    });
  });
}
