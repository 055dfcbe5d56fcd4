/** The head's process: from its first act to its last. `bin/head.ts` runs it. */
import { openReplicatedLog, openSqliteState, prepareState, withoutSecrets } from "../control/mod.ts";
import { claimSession, Ending, endProcess, Lifeline, NodeLog, startHealth } from "../node/mod.ts";
import { Access } from "../transport/mod.ts";
import { type HeadConfig, readHeadConfig } from "./config.ts";
import { Door, type DoorOptions } from "./door.ts";
import { Gate } from "./gate.ts";
import { LoopLag } from "./loop-lag.ts";
import { openHead } from "./recorded.ts";
import { Refusals } from "./refusals.ts";
import { ReplicatedHead } from "./replicated.ts";
import { rememberPort, statePathOf } from "./state-folder.ts";
import { openStateService } from "./state-service.ts";

interface Parts extends DoorOptions {
  readonly loopLag: LoopLag;
}

interface Running {
  readonly door: Door;
  stop(): Promise<void>;
}

export async function runHead(): Promise<void> {
  const config = readHeadConfig();
  process.stderr.on("error", () => {}); // The launcher may be gone; the log file is not.
  const lifeline = new Lifeline();
  try {
    claimSession(config.sessionDir);
    const log = new NodeLog(config.sessionDir, config.logLevel, "head");
    const ending = new Ending(config, lifeline);
    const access = await Access.open(config.access, (message) => log.write("warn", message));
    const failed = (error: Error): void => {
      log.write("error", `this head ends: ${error.message}`);
      ending.begin(true);
    };
    const parts = { config, log, access, refusals: new Refusals(), loopLag: new LoopLag() };
    const { door, stop } = await (config.replicated === undefined
      ? openAlone(parts)
      : openReplicated(parts, config.replicated, failed));
    rememberPort(config.stateDir, door.port);
    const stateService = await openStateService(config, log, door);
    // Nothing that ends here waits for anybody.
    ending.watch({
      async stop() {
        stateService?.stop();
        await stop();
      },
      hurry() {},
    });
    if (config.healthPort !== undefined) {
      await startHealth({
        port: config.healthPort,
        notReady: () => (ending.hasBegun ? "this head is ending" : notReady(config, door)),
      });
    }
    lifeline.say({ kind: "ready", address: door.address, ...(stateService && { dashboard: stateService.url }) });
  } catch (error) {
    lifeline.fail(error as Error);
    endProcess(config);
  }
}

const notReady = ({ replicated }: HeadConfig, { host, leader, refusedBy }: Door): string | undefined => {
  if (replicated === undefined || host) return undefined;
  if (refusedBy !== undefined) return `the head at ${refusedBy} leads and refuses this one`;
  return leader === undefined ? "no head leads" : undefined;
};

/** Its state is a file of its own. */
async function openAlone(parts: Parts): Promise<Running> {
  const { config, log, refusals, loopLag } = parts;
  const state = await openSqliteState({ path: statePathOf(config.stateDir) });
  await prepareState(state);
  let door: Door | undefined;
  const runtime = await openHead(
    { log, refusals, state, gate: new Gate(() => true), place: null, loopLag },
    () => door?.address ?? "",
  );
  door = await Door.open(parts, runtime);
  return {
    door,
    async stop() {
      runtime.stop();
      await door?.close();
      await state.close();
    },
  };
}

async function openReplicated(parts: Parts, location: string, onFailed: (error: Error) => void): Promise<Running> {
  const door = await Door.open(parts);
  const stateLog = await openReplicatedLog(location);
  const head = await new Promise<ReplicatedHead>((resolve, reject) => {
    let isKnown = false;
    const opened: ReplicatedHead = new ReplicatedHead({
      ...parts,
      door,
      stateLog,
      place: withoutSecrets(location),
      onKnown: () => {
        isKnown = true;
        resolve(opened);
      },
      // A head that has stood by goes on trying: its token is a file that may be mended.
      onRefused: (error) => (isKnown ? undefined : reject(error)),
      onFailed: (error) => (isKnown ? onFailed(error) : reject(error)),
    });
  });
  return { door, stop: () => head.stop() };
}
