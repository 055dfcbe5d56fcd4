import type { NpmInstall, SetupModule, WorkingDir } from "./types.ts";

/** A runtime environment as a program has written it, with folders of its own machine, and whose parts are what they have to be. */
export interface RuntimeEnvSettings {
  readonly env?: Readonly<Record<string, string>>;
  readonly nodeOptions?: readonly string[];
  /** `root`, of an archive: where the program finds what is in it. */
  readonly workingDir?: WorkingDir & { readonly root?: string };
  readonly npm?: false | NpmInstall;
  readonly setup?: Required<SetupModule>;
  readonly timeoutMs?: number;
}
