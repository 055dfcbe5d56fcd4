/** The setup module of a worker's environment: its default export runs before the worker's first task or actor. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { RuntimeEnvError } from "../base/errors.ts";
import { importFrom } from "../closure/mod.ts";
import type { RuntimeEnv } from "../wire/mod.ts";

export class Setup {
  private readonly given: RuntimeEnv["setup"];
  private running: Promise<void> | undefined;
  /** It has not ended well yet. */
  isNeeded: boolean;

  constructor(given: RuntimeEnv["setup"]) {
    this.given = given;
    this.isNeeded = given !== undefined;
  }

  /** Runs it once; one that failed runs again for the next task. @throws RuntimeEnvError; its cause is what it threw. */
  async done(): Promise<void> {
    if (!this.isNeeded || !this.given) return;
    this.running ??= run(this.given);
    try {
      await this.running;
      this.isNeeded = false;
    } catch (error) {
      this.running = undefined;
      throw error;
    }
  }
}

async function run({ module, timeoutMs }: NonNullable<RuntimeEnv["setup"]>): Promise<void> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new RuntimeEnvError(`it did not end within ${timeoutMs / 1000} s`)), timeoutMs);
  try {
    await Promise.race([call(module), late]);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new RuntimeEnvError(`the setup module ${module} failed in worker ${process.pid}: ${why}`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

async function call(module: string): Promise<void> {
  // Workers start in the working folder of their environment.
  const namespace = await importFrom(pathToFileURL(join(process.cwd(), "index.js")).href)(module);
  const { default: setup } = namespace as { readonly default?: unknown };
  if (typeof setup !== "function") throw new TypeError("it has no function as its default export");
  await setup();
}
