/**
 * Versions of what processes say to each other. A release speaks its own and the one before, so that the processes of a cluster
 * can be exchanged one after the other. `wire/README.md` says how a message is changed.
 */
import { type MobulaError, VersionMismatchError } from "./errors.ts";

/** Raised with every change that a process of the version before would misread. */
const NEWEST = 2;

/** @internal For tests: a process that is told an older version speaks that, as an older release does. */
const told = Number(process.env.MOBULA_WIRE_VERSION || NEWEST);

export const WIRE_VERSION = Math.min(told, NEWEST);

/** What a first message says of the versions of a process; releases of version 1 say the first only. */
export interface SpokenVersions {
  /** The oldest. */
  readonly version: number;
  readonly newest?: number;
}

export const SPOKEN_VERSIONS: Required<SpokenVersions> = { version: WIRE_VERSION - 1, newest: WIRE_VERSION };

/**
 * The version to speak with a process: the newest that both know.
 *
 * @param own the newest of this one. @throws VersionMismatchError that names the side to upgrade.
 */
export function commonVersion(
  { version, newest = version }: SpokenVersions,
  own: number,
  here: string,
  other: string,
): number {
  const spoken = Math.min(own, newest);
  if (Number.isInteger(spoken) && spoken >= version && spoken >= own - 1 && spoken >= 0) return spoken;
  throw versionMismatch(own, here, newest, other);
}

export function versionMismatch(own: number, here: string, theirs: unknown, other: string): MobulaError {
  const isOlder = typeof theirs === "number" && theirs < own;
  return new VersionMismatchError(
    `${here} speaks wire version ${own} and the one before, ${other} ${String(theirs)}: upgrade mobula on the side of ${isOlder ? other : here}, one wire version at a time`,
  );
}

/** Call it for what only a version has that is newer than some that this release speaks: nobody says it to older ones. */
export function needsVersion(version: number, what: string): void {
  if (WIRE_VERSION < version)
    throw new VersionMismatchError(`${what} is of wire version ${version}, this process speaks ${WIRE_VERSION}`);
}
