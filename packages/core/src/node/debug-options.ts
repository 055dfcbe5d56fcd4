/** A worker that a program wants to debug: `inspect` of tasks and actors, which is `--inspect` among its options, or NODE_OPTIONS. */
import type { RuntimeEnv } from "../wire/messages.ts";

export interface Debugging {
  /** `host:port`; any port, unless the program has named one. */
  readonly listens: string;
  /** It waits for a debugger before it runs anything of the program, and pauses there. */
  readonly breaks: boolean;
}

const OPTION = /^--inspect(-brk|-wait)?(?:=(.+))?$/;
/** Several workers may have the same options. */
const ANY_PORT = "127.0.0.1:0";

/**
 * The debugger of an environment, and the rest of it: what a worker starts itself must not open the debugger too, neither its
 * tasks nor its child processes. Were Node.js told to pause, it would do so before the worker has said hello, and be given up.
 */
export function debuggingOf(runtimeEnv: RuntimeEnv | undefined): {
  readonly debugging: Debugging | undefined;
  readonly runtimeEnv: RuntimeEnv | undefined;
} {
  const options = runtimeEnv?.nodeOptions ?? [];
  const variable = runtimeEnv?.env?.NODE_OPTIONS?.split(/\s+/).filter(Boolean) ?? [];
  const asked = [...variable, ...options].map((option) => OPTION.exec(option)).filter((match) => match !== null);
  if (asked.length === 0) return { debugging: undefined, runtimeEnv };
  const isOther = (option: string): boolean => !OPTION.test(option);
  const named = asked.map(([, , place]) => place).findLast((place) => place !== undefined);
  return {
    debugging: { listens: named ?? ANY_PORT, breaks: asked.some(([, kind]) => kind !== undefined) },
    runtimeEnv: {
      ...runtimeEnv,
      nodeOptions: options.filter(isOther),
      ...(runtimeEnv?.env && {
        env: {
          ...runtimeEnv.env,
          ...(variable.length > 0 && { NODE_OPTIONS: variable.filter(isOther).join(" ") }),
        },
      }),
    },
  };
}

/** For the driver's terminal. */
export function attachWords(url: string, { breaks }: Debugging): string {
  const place = url.replace("ws://", "");
  const waits = breaks ? "; it waits for that" : "";
  return (
    `attach a debugger to ${url}${waits}: in Chrome open ` +
    `devtools://devtools/bundled/js_app.html?experiments=true&v8only=true&ws=${place}, or chrome://inspect with ${place.split("/")[0]}`
  );
}
