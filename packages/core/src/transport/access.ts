/**
 * How a process proves itself to others of its cluster, and what it demands of them: tokens and TLS files that are read again
 * when they have changed, each time that a connection is made. Connections that there are stay as they are.
 */
import { readFileSync } from "node:fs";
import { InvalidOptionError } from "../base/errors.ts";
import type { AccessFiles, TlsFiles } from "../wire/mod.ts";
import type { Tls } from "./tls.ts";
import { WatchedFiles } from "./watched-files.ts";

/** Shorter ones could be guessed. */
export const TOKEN_CHARS_MIN = 16;

export class Access {
  readonly tls: Tls | undefined;
  private readonly path: string;
  private readonly watched: WatchedFiles;
  private readonly onProblem: (message: string) => void;
  private known: readonly string[];

  /**
   * @param onProblem a file has changed and cannot be used: what it said before goes on to count.
   * @throws InvalidOptionError when a file cannot be read or used.
   */
  static async open(files: AccessFiles, onProblem: (message: string) => void): Promise<Access> {
    const tls = files.tls && (await openTls(files.tls, onProblem));
    return new Access(files.tokenFile, tls, onProblem);
  }

  private constructor(path: string, tls: Tls | undefined, onProblem: (message: string) => void) {
    this.path = path;
    this.tls = tls;
    this.onProblem = onProblem;
    this.watched = new WatchedFiles([path]);
    this.known = readTokens(path);
  }

  /** All that are accepted. */
  readonly tokens = (): readonly string[] => {
    if (this.watched.haveChanged()) {
      try {
        this.known = readTokens(this.path);
      } catch (error) {
        this.onProblem((error as Error).message);
      }
    }
    return this.known;
  };

  /** The one to prove oneself with. */
  readonly token = (): string => this.tokens()[0] as string; // There is always one.
}

/** Loading it takes milliseconds that a process without TLS need not spend. @throws InvalidOptionError */
export async function openTls(files: TlsFiles, onProblem?: (message: string) => void): Promise<Tls> {
  const { Tls } = await import("./tls.ts");
  return new Tls(files, onProblem);
}

/** @throws InvalidOptionError */
export function readTokens(path: string): readonly [string, ...string[]] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new InvalidOptionError(`the file of tokens cannot be read: ${(error as Error).message}`, { cause: error });
  }
  const [first, ...more] = text.split("\n").flatMap((line) => line.trim() || []);
  if (first === undefined) throw new InvalidOptionError(`there is no token in ${path}`);
  if ([first, ...more].some(({ length }) => length < TOKEN_CHARS_MIN)) {
    throw new InvalidOptionError(`a token in ${path} has fewer than ${TOKEN_CHARS_MIN} characters`);
  }
  return [first, ...more];
}
