/**
 * Putting a backup back, while no head runs: into the file of one head, or into replicated state. What is there is replaced
 * only if that is asked for, and a file that is replaced is kept under another name.
 */
import { existsSync, linkSync, renameSync, rmSync } from "node:fs";
import { isError, MobulaError } from "../base/errors.ts";
import {
  campaign,
  checkBackup,
  entriesHeld,
  importState,
  openReplicatedLog,
  openSqliteState,
  withoutSecrets,
} from "../control/mod.ts";
import { findStandingHead } from "./standing.ts";
import { openStateFolder, statePathOf } from "./state-folder.ts";

export interface RestoreOptions {
  /** What is there is replaced. */
  readonly replace?: boolean;
}

export interface Restored {
  readonly entries: number;
  /** Where what was there is now. */
  readonly replaced?: string;
}

const WAL = "-wal";

/**
 * Puts a backup into the folder of a head.
 *
 * @throws as `importState`; MobulaError `STATE_IN_USE` (`invalid`) while a head runs on it; `STATE_NOT_EMPTY` (`invalid`).
 */
export async function restoreFolder(
  stateDir: string,
  backup: string,
  { replace = false }: RestoreOptions = {},
): Promise<Restored> {
  await checkBackup(backup);
  openStateFolder(stateDir);
  const running = findStandingHead();
  if (running?.stateDir === stateDir && running.replicated === undefined) {
    throw inUse(`the head of this machine (pid ${running.pid}) runs on the state in ${stateDir}`);
  }
  const path = statePathOf(stateDir);
  const there = await whatIsThere(path);
  if (there !== undefined && !replace) {
    throw new MobulaError(
      "STATE_NOT_EMPTY",
      "invalid",
      `${there}; with --replace the backup takes its place, and it is kept under another name`,
    );
  }
  const unfinished = `${path}.restoring`;
  removeState(unfinished);
  const state = await openSqliteState({ path: unfinished });
  let entries: number;
  try {
    entries = await importState(state, backup);
  } finally {
    await state.close();
  }
  const replaced =
    there === undefined ? undefined : `${path}.replaced-${new Date().toISOString().replaceAll(":", ".")}`;
  if (replaced !== undefined) {
    // Links first: whenever this is killed, either is whole.
    linkSync(path, replaced);
    if (existsSync(path + WAL)) linkSync(path + WAL, replaced + WAL);
  }
  rmSync(path + WAL, { force: true });
  rmSync(`${path}-shm`, { force: true });
  renameSync(unfinished, path);
  return { entries, ...(replaced !== undefined && { replaced }) };
}

/** Undefined: nothing that could be lost. @throws MobulaError while it is in use. */
async function whatIsThere(path: string): Promise<string | undefined> {
  if (!existsSync(path)) return undefined;
  try {
    const state = await openSqliteState({ path });
    try {
      const held = await entriesHeld(state);
      return held === 0 ? undefined : `the state store ${path} holds ${held} entries`;
    } finally {
      await state.close();
    }
  } catch (error) {
    if (isError(error, "STATE_CORRUPT") || isError(error, "VERSION_MISMATCH")) return (error as MobulaError).message;
    throw error;
  }
}

function removeState(path: string): void {
  for (const suffix of ["", WAL, "-shm"]) rmSync(path + suffix, { force: true });
}

/** A head that has died is known to be dead within this time, or another leads. */
const VACANT_MS = 5_000;
const REACHED_MS = 60_000;

/**
 * Puts a backup into replicated state, as its leader for that time: a head that stands by leads after it, with what was put back.
 *
 * @throws as `importState` and `openReplicatedLog`; MobulaError `STATE_IN_USE` (`invalid`) while a head leads.
 */
export async function restoreReplicated(
  location: string,
  backup: string,
  { replace = false }: RestoreOptions = {},
): Promise<Restored> {
  await checkBackup(backup);
  const place = withoutSecrets(location);
  const log = await openReplicatedLog(location);
  const given = new AbortController();
  let timer = setTimeout(() => given.abort(unreachable(place, trouble)), REACHED_MS);
  let trouble: MobulaError | undefined;
  let isWaiting = false;
  try {
    const leadership = await campaign(log, {
      // Nobody can be referred to it.
      leader: "",
      signal: given.signal,
      onTrouble: (error) => {
        trouble = error;
      },
      onLeader: ({ leader }) => {
        if (isWaiting) return;
        isWaiting = true;
        clearTimeout(timer);
        timer = setTimeout(() => given.abort(inUse(`the head at ${leader} leads on the state in ${place}`)), VACANT_MS);
      },
    });
    clearTimeout(timer);
    try {
      return { entries: await importState(leadership.state, backup, { replace }) };
    } finally {
      await leadership.resign();
    }
  } finally {
    clearTimeout(timer);
    await log.close();
  }
}

const inUse = (what: string): MobulaError =>
  new MobulaError("STATE_IN_USE", "invalid", `${what}; end all heads of the cluster first`);

const unreachable = (place: string, trouble: MobulaError | undefined): MobulaError =>
  new MobulaError(
    "STATE_UNAVAILABLE",
    "unavailable",
    `the state in ${place} could not be used within ${REACHED_MS / 1_000} s: ${trouble?.message ?? "it gives no answer"}`,
  );
