/** Who leads, asked of heads whose clusters are silent. */
import { NotLeadingError } from "../transport/mod.ts";
import type { HeadIdentity } from "../wire/cluster-messages.ts";

/**
 * The address of another head that leads, in a later epoch than `known`; undefined while there is none, as far as those can
 * tell that answer.
 *
 * @param ask who leads there; rejects when nobody does.
 */
export async function newLeader(
  heads: readonly string[],
  known: HeadIdentity,
  ask: (address: string) => Promise<HeadIdentity>,
): Promise<string | undefined> {
  const isNew = async (address: string): Promise<string> => {
    const head = await ask(address);
    if (isOlder(head, known) || isSame(head, known)) throw new NotLeadingError(undefined);
    return address;
  };
  try {
    return await Promise.any(heads.map(isNew));
  } catch {
    return undefined;
  }
}

const isSame = (a: HeadIdentity, b: HeadIdentity): boolean => a.state === b.state && a.epoch === b.epoch;

/** Whether another head has led since, of the same state: what this one orders does not count. */
export const isOlder = (head: HeadIdentity, known: HeadIdentity | undefined): boolean =>
  head.state === known?.state && head.epoch < known.epoch;
