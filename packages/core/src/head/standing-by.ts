/** A standby's connection to the head that leads: as long as it is there, the leader counts it among those that could follow. */
import { setTimeout as delay } from "node:timers/promises";
import { isError, type MobulaError } from "../base/errors.ts";
import { type Access, connectTcp, introduce } from "../transport/mod.ts";
import { STANDBY_ROLE } from "./door.ts";

const AGAIN_MS = 1_000;
/** A wrong token does not become right by itself; it is a file that may change. */
const REFUSED_AGAIN_MS = 5_000;

export interface StandingBy {
  /** Of this head. */
  readonly address: string;
  readonly access: Access;
  readonly signal: AbortSignal;
  /** The leader counts on this head. */
  onWelcomed(): void;
  /** It was not reached; tried again. */
  onMissed(): void;
  /** It will not have it: another token, or another version. Tried again. */
  onRefused(error: MobulaError): void;
}

/** Until the signal comes. */
export async function standBy(leader: string, options: StandingBy): Promise<void> {
  const { address, access, signal, onWelcomed, onMissed, onRefused } = options;
  let wasRefused = false;
  while (!signal.aborted) {
    try {
      const socket = await connectTcp(leader, { tls: access.tls, signal });
      await introduce(socket, { role: STANDBY_ROLE, who: { address }, token: access.token(), signal });
      wasRefused = false;
      onWelcomed();
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
    } catch (error) {
      // Else it may be gone, or not lead yet: whoever leads is told by the log, and this is tried again.
      const isForGood = isError(error, "AUTHENTICATION") || isError(error, "VERSION_MISMATCH");
      if (signal.aborted) return;
      if (isForGood) onRefused(error as MobulaError);
      else onMissed();
      wasRefused = isForGood;
    }
    await delay(wasRefused ? REFUSED_AGAIN_MS : AGAIN_MS, undefined, { signal }).catch(() => {});
  }
}
