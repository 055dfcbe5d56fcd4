/** The folder that outlives a head: the state store, the cluster's tokens (mode 0600), and the address that nodes know. */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { InvalidOptionError } from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";
import { readTokens, TOKEN_CHARS_MIN } from "../transport/mod.ts";

export const statePathOf = (stateDir: string): string => join(stateDir, "control.sqlite");

/** Where a head keeps its state if it is not told: a folder of this user's that outlives the machine's restart. */
export const defaultStateFolder = (): string =>
  join(process.env.XDG_STATE_HOME ?? join(homedir(), ".local", "state"), "mobula", "cluster");

/** Where a head keeps its token and its port whose state is elsewhere. */
export const replicatedStateFolder = (): string => join(defaultStateFolder(), "..", "replicated");

export const hasToken = (stateDir: string): boolean => existsSync(join(stateDir, "token"));

export function openStateFolder(stateDir: string): void {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  chmodSync(stateDir, 0o700);
}

/**
 * The file with the cluster's tokens, made if need be of what MOBULA_TOKEN says, or of chance.
 *
 * @throws InvalidOptionError when a token is given that is too short, or is none of the file's.
 */
export function tokenFileIn(stateDir: string, given = process.env.MOBULA_TOKEN || undefined): string {
  const file = join(stateDir, "token");
  if (given !== undefined && given.length < TOKEN_CHARS_MIN) {
    throw new InvalidOptionError(`the token in MOBULA_TOKEN has fewer than ${TOKEN_CHARS_MIN} characters`);
  }
  if (!existsSync(file)) write(file, `${given ?? randomBytes(32).toString("hex")}\n`);
  else if (given !== undefined && !readTokens(file).includes(given)) {
    throw new InvalidOptionError(`the cluster in ${stateDir} has other tokens than MOBULA_TOKEN says; unset that`);
  }
  return file;
}

/** The port on which nodes look for a head that was killed; undefined for a new cluster. */
export function lastPort(stateDir: string): number | undefined {
  const text = readIfThere(join(stateDir, "port"));
  return text === undefined ? undefined : Number(text);
}

export const rememberPort = (stateDir: string, port: number): void => write(join(stateDir, "port"), String(port));

function write(file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
