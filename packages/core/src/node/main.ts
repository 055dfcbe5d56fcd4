/** The node process: from its first act to its last. `bin/node.ts` runs it. */
import { join } from "node:path";
import { newWorkerId } from "../base/ids.ts";
import { beginAnew } from "./anew.ts";
import { ClaimPages } from "./claims.ts";
import { cpuCount, type NodeConfig, readNodeConfig } from "./config.ts";
import { openEarlySocket } from "./early-socket.ts";
import { Ending, endProcess, Lifeline } from "./lifeline.ts";
import { NodeLog } from "./node-log.ts";
import { startReaper } from "./reaper.ts";
import type { NodeRuntime } from "./runtime.ts";
import { claimSession, keepDashboard, keepToken, sweepSessions } from "./session-folder.ts";
import { type SpawnOptions, type StartedWorker, spawnWorker } from "./spawn.ts";
import type { StateService } from "./state-service.ts";

/** Whoever drains a node counts on its end at most 5 s past the deadline. */
const DRAINED_STOP_MS = 2_500;

export async function runNode(options: { readonly command?: SpawnOptions["command"] } = {}): Promise<void> {
  const config = readNodeConfig();
  process.stderr.on("error", () => {}); // The launcher may be gone; the log file is not.
  const { command } = options;
  // Who has begun anew has no launcher that waits for it.
  const lifeline = new Lifeline(config.restarts === undefined);
  try {
    claimSession(config.sessionDir, config.nodeId);
    const { socket, listening } = openEarlySocket(config.nodeSocket);
    const claims = new ClaimPages(config.sessionDir);
    const firstWorkers = startFirstWorkers(config, claims, command);
    const log = new NodeLog(config.sessionDir, config.logLevel, "node", config.nodeId);
    // Loaded only now: the workers are on their way, and they need longer than this.
    const { NodeRuntime } = await import("./runtime.ts");
    await listening;
    const ending = new Ending(config, lifeline);
    const runtime = await NodeRuntime.open({
      config,
      claims,
      socket,
      log,
      firstWorkers,
      command,
      headAddress: async () => config.cluster?.address ?? (await lifeline.told()).address,
      // Its process may live (the lifeline tells when not): actors still run their shutdown hooks.
      onDriverGone: () => ending.begin(false),
      onDrained: () => {
        ending.begin(false);
        // Actors that are still here have had their time, but for their shutdown hooks.
        setTimeout(() => ending.begin(true), DRAINED_STOP_MS);
      },
      onExpelled: (cluster) =>
        config.standing ? ending.beginAnew(() => beginAnew({ ...config, cluster })) : ending.begin(true),
    });
    const stateService = await openStateService(config, log, runtime);
    ending.watch({
      stop(atOnce) {
        stateService?.stop();
        return runtime.stop(atOnce);
      },
      hurry: () => runtime.hurry(),
    });
    if (config.healthPort !== undefined) {
      const { startHealth } = await import("./health.ts");
      await startHealth({ port: config.healthPort, notReady: () => runtime.notReady });
    }
    lifeline.say({
      kind: "ready",
      limits: runtime.limits.info,
      ...(stateService && { dashboard: stateService.url }),
    });
    ending.atEnd(startReaper(config.sessionDir, (message) => log.write("warn", message)));
    void sweepSessions(join(config.sessionDir, "..")).then(
      (removed) => removed.length > 0 && log.write("info", `removed what dead runs left: ${removed.join(", ")}`),
      (error: Error) => log.write("warn", `leftovers of dead runs could not be removed: ${error.message}`),
    );
  } catch (error) {
    lifeline.fail(error as Error);
    endProcess(config);
  }
}

/** Of a node without a cluster; undefined: it is not wanted, or no port is free, and everything else goes on. */
async function openStateService(
  { dashboard, cluster, sessionDir, nodeSocket, token, nodeId, standing }: NodeConfig,
  log: NodeLog,
  runtime: NodeRuntime,
): Promise<StateService | undefined> {
  if (!dashboard || cluster) return undefined;
  const { StateService: Parent } = await import("./state-service.ts");
  try {
    const tokenFile = keepToken(sessionDir, token);
    const opened = await Parent.open({
      ...dashboard,
      isTls: false,
      config: () => ({
        access: { tokenFile },
        control: { kind: "node", nodeSocket, token, nodeId },
        link: { host: dashboard.host },
        isEmbedded: !standing,
        sessionDir,
        packagesDir: join(sessionDir, "packages"),
      }),
      onLink: (address) => runtime.stateServiceAt(address),
      onNews: (message) => log.write("warn", message),
    });
    keepDashboard(sessionDir, { url: opened.url, tokenFile, isEmbedded: !standing });
    return opened;
  } catch (error) {
    log.write("warn", `there is no dashboard: ${(error as Error).message}`);
    return undefined;
  }
}

function startFirstWorkers(config: NodeConfig, claims: ClaimPages, command: SpawnOptions["command"]): StartedWorker[] {
  // One, for the first task; more at once would hold it up, and the engine orders the others in a moment.
  return Array.from({ length: config.firstWorkers ?? Math.min(1, cpuCount(config)) }, () =>
    spawnWorker({ config, workerId: newWorkerId(), claims: claims.take(), command }),
  );
}
