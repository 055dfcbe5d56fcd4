/** Who leads, asked of all heads at once. */
import { NotLeadingError } from "../transport/mod.ts";
import type { HeadIdentity } from "../wire/cluster-messages.ts";

/**
 * The first that says that it leads, of those that may; undefined while there is none, as far as those can tell that answer.
 *
 * @param ask who leads there; rejects when nobody does.
 */
export async function leaderAmong(
  heads: readonly string[],
  mayLead: (head: HeadIdentity) => boolean,
  ask: (address: string) => Promise<HeadIdentity>,
): Promise<string | undefined> {
  const leads = async (address: string): Promise<string> => {
    if (!mayLead(await ask(address))) throw new NotLeadingError(undefined);
    return address;
  };
  try {
    return await Promise.any(heads.map(leads));
  } catch {
    return undefined;
  }
}

export const isSame = (a: HeadIdentity, b: HeadIdentity): boolean => a.state === b.state && a.epoch === b.epoch;

/** Whether another head has led since, of the same state: what this one orders does not count. */
export const isOlder = (head: HeadIdentity, known: HeadIdentity | undefined): boolean =>
  head.state === known?.state && head.epoch < known.epoch;
