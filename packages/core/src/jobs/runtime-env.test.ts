import { describe, expect, test } from "vitest";
import { readRuntimeEnv } from "./runtime-env.ts";

describe("a job's runtime environment", () => {
  test("is understood in our names and in Ray's, and its values are not shown", () => {
    const none = { nodeOptions: [], npm: null, setup: null, environmentTimeoutMs: null };
    expect(readRuntimeEnv({ env: { A: "1" }, workingDir: "gcs://a.zip" })).toEqual({
      ...none,
      env: { A: "1" },
      workingDir: "gcs://a.zip",
      shown: { env: { A: "(hidden)" }, workingDir: "gcs://a.zip" },
    });
    const rays = readRuntimeEnv({ env_vars: { A: "1" }, working_dir: "gcs://a.zip", config: {}, excludes: ["x"] });
    expect(rays).toMatchObject({ env: { A: "1" }, workingDir: "gcs://a.zip" });
    expect(readRuntimeEnv({ workingDir: null })).toEqual({ ...none, env: {}, workingDir: null, shown: {} });
  });

  test("has all that a program's has", () => {
    const rest = {
      npm: { path: "./tools", dev: true },
      nodeOptions: ["--max-old-space-size=300"],
      setup: "./setup.mjs",
    };
    expect(readRuntimeEnv({ ...rest, workingDir: "gcs://a.zip", timeoutMs: 5_000 })).toMatchObject({
      npm: { path: "./tools", dev: true },
      nodeOptions: ["--max-old-space-size=300"],
      setup: { module: "./setup.mjs", timeoutMs: 60_000 },
      environmentTimeoutMs: 5_000,
    });
    expect(readRuntimeEnv({ npm: { dependencies: { a: "1.0.0" } } })).toMatchObject({
      npm: { dependencies: { a: "1.0.0" } },
      workingDir: null,
    });
    expect(readRuntimeEnv({ npm: false })).toMatchObject({ npm: null });
  });

  test.each([
    [{ pip: ["x"] }, /"pip" installs Python packages/],
    [{ envs: {} }, /unknown field "envs"; there are env .* and timeoutMs/],
    [{ env: [] }, /"runtimeEnv.env" is \[\]|"runtimeEnv.env" is an array.*must be an object/],
    [{ env: { A: 1 } }, /"runtimeEnv.env.A" is 1; it must be a string/],
    [{ env: { "A=B": "1" } }, /it must be a name without "="/],
    [{ workingDir: "s3://a.zip" }, /only uploaded packages/],
    [{ workingDir: "./a" }, /no absolute path/],
    [{ npm: true }, /"workingDir" must be uploaded/],
    [{ npm: { from: "x" }, workingDir: "gcs://a.zip" }, /no option "runtimeEnv.npm.from"/],
    [{ workingDir: 1 }, /must be a package/],
    [{ env: { "": "1" } }, /without an empty name/],
    [{ nodeOptions: ["--eval=1"] }, /runs its own program/],
    [{ setup: "./setup.mjs" }, /must lie in the working directory, which must be uploaded/],
    [{ setup: "../setup.mjs", workingDir: "gcs://a.zip" }, /must lie in the working directory/],
    [{ npm: "../tools", workingDir: "gcs://a.zip" }, /must be a folder in the working directory/],
  ])("%j is refused", (given, why) => {
    expect(() => readRuntimeEnv(given)).toThrow(why);
  });
});
