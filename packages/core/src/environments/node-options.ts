/** Options of Node.js that a worker cannot be started with, and why. */

const REFUSED: readonly (readonly [names: readonly string[], why: string])[] = [
  [
    ["-e", "--eval", "-p", "--print", "-pe"],
    "a worker runs its own program: put the code into a module, and name it in setup",
  ],
  [["-c", "--check", "-v", "--version", "-h", "--help", "--v8-options", "--completion-bash"], "node would end at once"],
  [["-i", "--interactive", "--repl"], "a worker has no terminal"],
  [
    ["--test", "--test-only", "--watch", "--watch-path", "--run", "--build-sea", "--experimental-sea-config"],
    "node would run something else than the worker",
  ],
  [
    ["--build-snapshot", "--build-snapshot-config", "--snapshot-blob"],
    "a worker cannot start from another program's snapshot",
  ],
  [["--input-type", "--entry-url", "--experimental-default-type"], "it changes what a worker's own program is"],
  [["--jitless"], "the object store is reached by native calls, which need V8's compiler"],
  [["--no-addons"], "the object store is reached by a native addon"],
  [["--abort-on-uncaught-exception"], "an error of a task would end the process"],
  [["--env-file", "--env-file-if-exists"], "its variables would hide those that the worker is started with: use env"],
];
/** Each worker has its debugger at a port of its own. */
const DEBUGGERS = /^--inspect(-brk|-wait)?(=0|=127\.0\.0\.1:0)?$/;
const DEBUGGER_SETTINGS = /^--inspect/;

/** Why the option, as given (`--name` or `--name=value`), is refused; undefined when it is not. */
export function refusedNodeOption(option: string): string | undefined {
  const [name = ""] = option.split("=", 1);
  if (DEBUGGER_SETTINGS.test(name) && !DEBUGGERS.test(option))
    return "all workers would want the same port; --inspect alone gives each one of its own";
  return REFUSED.find(([names]) => names.includes(name))?.[1];
}
