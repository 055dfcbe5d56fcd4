/** The head behind `mobula start --head`: where it is, in a file of the user's own folder, until `mobula stop`. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { MobulaError } from "../base/errors.ts";
import { withoutSecrets } from "../control/mod.ts";
import {
  baseFolder,
  endProcessOf,
  processStart,
  type RunningProcess,
  readAddressFile,
  removeSession,
  type Started,
  writeAddressFile,
} from "../node/mod.ts";
import type { TlsFiles } from "../wire/mod.ts";
import { type HeadOptions, type LaunchedHead, launchHead } from "./launch.ts";

export interface StandingHead extends RunningProcess {
  readonly sessionDir: string;
  readonly stateDir: string;
  /** `host:port`, as nodes are told. */
  readonly address: string;
  /** Where its state is, if it is replicated; for people. */
  readonly replicated?: string;
  readonly tokenFile: string;
  readonly tls?: TlsFiles;
}

const ADDRESS_FILE = "standing-head.json";

/** The head of this user that runs on this machine, or undefined. */
export function findStandingHead(base: string = baseFolder()): StandingHead | undefined {
  return readAddressFile<StandingHead>(join(base, ADDRESS_FILE));
}

/** @throws MobulaError `ALREADY_RUNNING` when one runs already; what launchHead throws. */
export async function startStandingHead(
  options: HeadOptions,
): Promise<Started<StandingHead> & Pick<LaunchedHead, "token">> {
  const base = options.base ?? baseFolder();
  const existing = findStandingHead(base);
  if (existing) {
    throw new MobulaError(
      "ALREADY_RUNNING",
      "invalid",
      `a head runs already (pid ${existing.pid}, ${existing.address}); \`mobula stop\` ends it`,
    );
  }
  const { pid, sessionDir, address, token, tokenFile, exited } = await launchHead({ ...options, base, standing: true });
  const { stateDir, replicated, tls } = options;
  const head: StandingHead = {
    pid,
    started: processStart(pid) ?? null,
    sessionDir,
    stateDir,
    address,
    tokenFile,
    ...(tls && { tls }),
    ...(replicated !== undefined && { replicated: withoutSecrets(replicated) }),
  };
  writeAddressFile(join(base, ADDRESS_FILE), head);
  return { ...head, token, exited };
}

/**
 * Ends the head of this machine, and the cluster with it: what it had written down goes too, unless `keepState`. Replicated
 * state stays in its servers, and another head leads. Undefined when there was none.
 */
export async function stopStandingHead({
  base = baseFolder(),
  keepState = false,
} = {}): Promise<StandingHead | undefined> {
  const head = findStandingHead(base);
  rmSync(join(base, ADDRESS_FILE), { force: true });
  if (!head) return undefined;
  await endProcessOf(head, false);
  removeSession(head.sessionDir);
  if (!keepState) rmSync(head.stateDir, { recursive: true, force: true });
  return head;
}
