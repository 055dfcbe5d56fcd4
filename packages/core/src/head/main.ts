/** The head's process: from its first act to its last. `bin/head.ts` runs it. */
import { openSqliteState, prepareState } from "../control/mod.ts";
import { claimSession, Ending, endProcess, Lifeline, NodeLog, startHealth } from "../node/mod.ts";
import { Access } from "../transport/mod.ts";
import { readHeadConfig } from "./config.ts";
import { HeadRuntime } from "./runtime.ts";
import { rememberPort, statePathOf } from "./state-folder.ts";

export async function runHead(): Promise<void> {
  const config = readHeadConfig();
  process.stderr.on("error", () => {}); // The launcher may be gone; the log file is not.
  const lifeline = new Lifeline();
  try {
    claimSession(config.sessionDir);
    const log = new NodeLog(config.sessionDir, config.logLevel, "head");
    const ending = new Ending(config, lifeline);
    const state = await openSqliteState({ path: statePathOf(config.stateDir) });
    await prepareState(state);
    const access = await Access.open(config.access, (message) => log.write("warn", message));
    const runtime = await HeadRuntime.open({ config, log, state, access });
    rememberPort(config.stateDir, runtime.port);
    ending.watch(runtime);
    if (config.healthPort !== undefined) {
      await startHealth({
        port: config.healthPort,
        notReady: () => (ending.hasBegun ? "this head is ending" : undefined),
      });
    }
    lifeline.say({ kind: "ready", address: runtime.address });
  } catch (error) {
    lifeline.fail(error as Error);
    endProcess(config);
  }
}
