import { MobulaError, monotonicMs } from "../base/mod.ts";

const READY_MS = 60_000;
const RETRY_MS = 250;

/** Servers that were started at the same time need a while to find each other and to agree on a leader. */
export async function untilReady<T>(attempt: () => Promise<T>): Promise<T> {
  const untilMs = monotonicMs() + READY_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof MobulaError) || error.kind !== "unavailable" || monotonicMs() > untilMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
