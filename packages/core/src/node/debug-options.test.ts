import { expect, test } from "vitest";
import { attachWords, debuggingOf } from "./debug-options.ts";

test("a debugger is taken out of options and NODE_OPTIONS, and listens on any port unless one is named", () => {
  expect(debuggingOf(undefined)).toEqual({ debugging: undefined, runtimeEnv: undefined });
  const plain = { nodeOptions: ["--max-old-space-size=100"], env: { A: "1" } };
  expect(debuggingOf(plain)).toEqual({ debugging: undefined, runtimeEnv: plain });
  expect(debuggingOf({ nodeOptions: ["--inspect", "--expose-gc"] })).toEqual({
    debugging: { listens: "127.0.0.1:0", breaks: false },
    runtimeEnv: { nodeOptions: ["--expose-gc"] },
  });
  expect(debuggingOf({ env: { A: "1", NODE_OPTIONS: "--expose-gc  --inspect-brk=127.0.0.1:9300" } })).toEqual({
    debugging: { listens: "127.0.0.1:9300", breaks: true },
    runtimeEnv: { nodeOptions: [], env: { A: "1", NODE_OPTIONS: "--expose-gc" } },
  });
  expect(debuggingOf({ nodeOptions: ["--inspect-wait"] }).debugging?.breaks).toBe(true);
  expect(debuggingOf({ nodeOptions: ["--inspect-port=1"] }).debugging).toBeUndefined();
});

test("where to attach is said with what to open", () => {
  const words = attachWords("ws://127.0.0.1:4711/abc", { listens: "127.0.0.1:0", breaks: true });
  expect(words).toContain("attach a debugger to ws://127.0.0.1:4711/abc; it waits for that:");
  expect(words).toContain("v8only=true&ws=127.0.0.1:4711/abc, or chrome://inspect with 127.0.0.1:4711");
});
