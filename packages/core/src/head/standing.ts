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
import { type BeginningHead, beginHead, type HeadOptions } from "./launch.ts";

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

export interface BeginningStandingHead extends Omit<BeginningHead, "launched"> {
  /** Resolves when nodes can join. */
  readonly begun: Promise<Started<StandingHead>>;
}

/** @throws MobulaError `ALREADY_RUNNING` when one runs already; what beginHead throws. */
export function beginStandingHead(options: HeadOptions): BeginningStandingHead {
  const base = options.base ?? baseFolder();
  const existing = findStandingHead(base);
  if (existing) {
    throw new MobulaError(
      "ALREADY_RUNNING",
      "invalid",
      `a head runs already (pid ${existing.pid}, ${existing.address}); \`mobula stop\` ends it`,
    );
  }
  const { token, tokenFile, launched } = beginHead({ ...options, base, standing: true });
  const { stateDir, replicated, tls } = options;
  const begun = launched.then(({ pid, sessionDir, address, exited }) => {
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
    return { ...head, exited };
  });
  return { token, tokenFile, begun };
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
