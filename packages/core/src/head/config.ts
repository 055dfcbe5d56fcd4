/** What a head is told at its start, as JSON in the environment variable MOBULA_HEAD. The token is in a file. */
import { InvalidOptionError } from "../base/errors.ts";
import type { LogLevel } from "../node/mod.ts";
import type { AccessFiles } from "../wire/mod.ts";

export interface HeadConfig {
  /** Kept when it ends; see state-folder.ts. */
  readonly stateDir: string;
  /** Where its state is if it is not in the folder, as control/log-location.ts says; it may hold a secret. */
  readonly replicated?: string;
  readonly access: AccessFiles;
  /** For its log; removed at the end. */
  readonly sessionDir: string;
  /** An address of this machine, or a name of one. */
  readonly host: string;
  /** A port, or a range that is tried in order; 0 for any. */
  readonly port: number | string;
  /** Where others reach it, if not at `host`. */
  readonly advertise?: string;
  /** It goes on without the process that started it. */
  readonly standing: boolean;
  readonly driverPid?: number;
  readonly logLevel: LogLevel;
  /** Where the state service answers over HTTP; null: nowhere. Default 127.0.0.1, at the first free port from 8265 on. */
  readonly dashboard?: { readonly host?: string; readonly ports?: string } | null;
  /** As a node's. */
  readonly healthPort?: number;
}

export const HEAD_VARIABLE = "MOBULA_HEAD";
export const HEAD_PORT = 6380;

export function readHeadConfig(text = process.env[HEAD_VARIABLE]): HeadConfig {
  if (text === undefined) {
    throw new InvalidOptionError(`${HEAD_VARIABLE} is not set; heads are started by \`mobula start --head\``);
  }
  return JSON.parse(text) as HeadConfig; // Written by launch.ts of the same package.
}
