import { describe, expect, test } from "vitest";
import { readRuntimeEnv } from "./runtime-env.ts";

describe("a job's runtime environment", () => {
  test("is understood in our names and in Ray's, and its values are not shown", () => {
    const ours = readRuntimeEnv({ env: { A: "1" }, workingDir: "gcs://a.zip" });
    expect(ours).toEqual({
      env: { A: "1" },
      workingDir: "gcs://a.zip",
      npm: null,
      shown: { env: { A: "(hidden)" }, workingDir: "gcs://a.zip" },
    });
    const rays = readRuntimeEnv({ env_vars: { A: "1" }, working_dir: "gcs://a.zip", config: {}, excludes: ["x"] });
    expect(rays).toMatchObject({ env: { A: "1" }, workingDir: "gcs://a.zip" });
    expect(readRuntimeEnv({ workingDir: null })).toEqual({ env: {}, workingDir: null, npm: null, shown: {} });
  });

  test.each([
    [{ pip: ["x"] }, /"pip" installs Python packages/],
    [{ envs: {} }, /unknown field "envs"; there are env .* and npm/],
    [{ env: [] }, /"env" must be an object/],
    [{ env: { A: 1 } }, /"env.A" must be a string/],
    [{ env: { "A=B": "1" } }, /"env.A=B" must be a string/],
    [{ workingDir: "s3://a.zip" }, /only uploaded packages/],
    [{ workingDir: "./a" }, /no absolute path/],
    [{ npm: true }, /"workingDir" must be uploaded/],
    [{ npm: { from: "x" }, workingDir: "gcs://a.zip" }, /"npm" must be true/],
    [{ workingDir: 1 }, /must be a package/],
  ])("%j is refused", (given, why) => {
    expect(() => readRuntimeEnv(given)).toThrow(why);
  });
});
