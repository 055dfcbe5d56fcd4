/** A standby's connection to the head that leads: as long as it is there, the leader counts it among those that could follow. */
import { setTimeout as delay } from "node:timers/promises";
import { type Access, connectTcp, introduce } from "../transport/mod.ts";
import { STANDBY_ROLE } from "./door.ts";

const AGAIN_MS = 1_000;

/** Until the signal comes. */
export async function standBy(
  leader: string,
  { address, access, signal }: { readonly address: string; readonly access: Access; readonly signal: AbortSignal },
): Promise<void> {
  while (!signal.aborted) {
    try {
      const socket = await connectTcp(leader, { tls: access.tls, signal });
      await introduce(socket, { role: STANDBY_ROLE, who: { address }, token: access.token(), signal });
      await new Promise<void>((resolve) => {
        const end = (): void => void socket.destroy();
        signal.addEventListener("abort", end);
        socket.once("close", () => {
          signal.removeEventListener("abort", end);
          resolve();
        });
        if (signal.aborted) end();
        socket.resume();
      });
    } catch {
      // It may be gone, or not lead yet: whoever leads is told by the log, and this is tried again.
    }
    await delay(AGAIN_MS, undefined, { signal }).catch(() => {});
  }
}
