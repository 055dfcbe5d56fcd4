/** Who leads, asked of heads whose clusters are silent. */
import { type Access, connectTcp, introduce, NotLeadingError } from "../transport/mod.ts";
import type { HeadIdentity } from "../wire/cluster-messages.ts";

const PROBE_MS = 1_000;

/**
 * The address of another head that leads, in a later epoch than `known`; undefined while there is none, as far as those can
 * tell that answer.
 */
export async function newLeader(
  heads: readonly string[],
  known: HeadIdentity,
  { access, signal }: { readonly access: Access; readonly signal: AbortSignal },
): Promise<string | undefined> {
  const ask = async (address: string): Promise<string> => {
    const socket = await connectTcp(address, { tls: access.tls, timeoutMs: PROBE_MS, signal });
    try {
      const hello = { role: "tool", who: null, token: access.token(), timeoutMs: PROBE_MS, signal };
      const { who } = await introduce(socket, hello);
      if (isOlder(who as HeadIdentity, known) || isSame(who as HeadIdentity, known))
        throw new NotLeadingError(undefined);
      return address;
    } finally {
      socket.destroy();
    }
  };
  try {
    return await Promise.any(heads.map(ask));
  } catch {
    return undefined;
  }
}

const isSame = (a: HeadIdentity, b: HeadIdentity): boolean => a.state === b.state && a.epoch === b.epoch;

/** Whether another head has led since, of the same state: what this one orders does not count. */
export const isOlder = (head: HeadIdentity, known: HeadIdentity | undefined): boolean =>
  head.state === known?.state && head.epoch < known.epoch;
