/** The head behind `mobula start --head`: where it is, in a file of the user's own folder, until `mobula stop`. */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MobulaError } from "../base/errors.ts";
import { baseFolder, endProcessOf, isRunning, processStart, type RunningProcess, removeSession } from "../node/mod.ts";
import { type HeadOptions, launchHead } from "./launch.ts";

export interface StandingHead extends RunningProcess {
  readonly sessionDir: string;
  readonly stateDir: string;
  /** `host:port`, as nodes are told. */
  readonly address: string;
}

const ADDRESS_FILE = "standing-head.json";

/** The head of this user that runs on this machine, or undefined. */
function findStandingHead(base: string = baseFolder()): StandingHead | undefined {
  let text: string;
  try {
    text = readFileSync(join(base, ADDRESS_FILE), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const head = JSON.parse(text) as StandingHead; // Written whole by startStandingHead, and renamed into place.
  return isRunning(head) ? head : undefined;
}

/** @throws MobulaError `ALREADY_RUNNING` when one runs already; what launchHead throws. */
export async function startStandingHead(options: HeadOptions): Promise<StandingHead & { readonly token: string }> {
  const base = options.base ?? baseFolder();
  const existing = findStandingHead(base);
  if (existing) {
    throw new MobulaError(
      "ALREADY_RUNNING",
      "invalid",
      `a head runs already (pid ${existing.pid}, ${existing.address}); \`mobula stop\` ends it`,
    );
  }
  const { pid, sessionDir, address, token } = await launchHead({ ...options, base, standing: true });
  const { stateDir } = options;
  const head: StandingHead = { pid, started: processStart(pid) ?? null, sessionDir, stateDir, address };
  const file = join(base, ADDRESS_FILE);
  writeFileSync(`${file}.${process.pid}`, JSON.stringify(head), { mode: 0o600 });
  renameSync(`${file}.${process.pid}`, file);
  return { ...head, token };
}

/**
 * Ends the head of this machine, and the cluster with it: what it had written down goes too, unless `keepState`. False when
 * there was none.
 */
export async function stopStandingHead({ base = baseFolder(), keepState = false } = {}): Promise<boolean> {
  const head = findStandingHead(base);
  rmSync(join(base, ADDRESS_FILE), { force: true });
  if (!head) return false;
  await endProcessOf(head, false);
  removeSession(head.sessionDir);
  if (!keepState) rmSync(head.stateDir, { recursive: true, force: true });
  return true;
}
