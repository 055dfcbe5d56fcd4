/** The environment of a submitted job: its command has it, and so have its tasks and actors, unless they say otherwise. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LocalCluster } from "../../src/testing/mod.ts";
import { folderWith, withPackages } from "../environments/programs.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
const api = fileURLToPath(new URL("../../src/api/mod.ts", import.meta.url));
const NODE = `${process.execPath} --conditions=mobula-source`;
let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.start({
    nodes: [{ resources: { cpu: 2, here: 1 } }, { resources: { cpu: 2, there: 1 } }],
    network: "direct",
    dashboard: true,
  });
});
afterAll(() => cluster.stop());

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

async function mobula(cwd: string, ...args: string[]): Promise<Ran> {
  const env = { ...process.env, MOBULA_ADDRESS: cluster.dashboardUrl, MOBULA_TOKEN: cluster.token, NO_COLOR: "1" };
  const child: ChildProcess = spawn(
    process.execPath,
    [...process.execArgv, "--conditions=mobula-source", cli, ...args],
    {
      env,
      cwd,
    },
  );
  let [out, err] = ["", ""];
  child.stdout?.on("data", (chunk: Buffer) => {
    out += chunk;
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    err += chunk;
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { code, out, err };
}

const program = `import { get, init, remote } from ${JSON.stringify(api)};
import { prefix } from "./lib/words.mjs";
await using context = await init(JSON.parse(process.env.INIT ?? "{}"));
const look = async () => {
  const { createRequire } = await import("node:module");
  const { readFileSync } = await import("node:fs");
  const v8 = await import("node:v8");
  const found = () => { try { return createRequire(process.cwd() + "/x.js")("beside"); } catch { return "none"; } };
  const word = () => { try { return readFileSync("data/word", "utf8"); } catch { return "none"; } };
  return [prefix, found(), word(), process.env.WHO, globalThis.ready ?? "unset", Math.round(v8.getHeapStatistics().heap_size_limit / 2 ** 20) < 600 ? "small" : "large"].join(" ");
};
class Looker { look() { return look(); } }
const at = (name, more) => ({ numCpus: 0, resources: { [name]: 0.1 }, ...more });
console.log("driver", await look());
for (const place of ["here", "there"]) {
  console.log(place, await get(remote(look, at(place)).remote()));
  console.log(place, "actor", await get(remote(Looker, at(place)).remote().look.remote()));
}
const nested = remote(async () => get(remote(look, { numCpus: 0 }).remote()), { numCpus: 0 });
console.log("nested", await get(nested.remote()));
console.log("own", await get(remote(look, at("there", { runtimeEnv: { env: { WHO: "own" } } })).remote()));
`;

// biome-ignore lint/suspicious/noTemplateCurlyInString: of the module.
const setup = "export default () => { globalThis.ready = `ready for ${process.env.WHO}`; };";

describe("the environment of a job", () => {
  test("is that of its command, its tasks and its actors, on each node", async () => {
    const folder = folderWith({
      "app.mjs": program,
      "lib/words.mjs": 'export const prefix = "words:";',
      "data/word": "from the folder",
      "setup.mjs": setup,
      "env.yaml": `
env: { WHO: job }
workingDir: .
npm: true
nodeOptions: ["--max-old-space-size=300"]
setup: ./setup.mjs
`,
    });
    withPackages(folder, [{ name: "beside", version: "2.0.0" }]);
    const { code, out, err } = await mobula(folder, "submit", "--runtime-env", "env.yaml", `${NODE} app.mjs`);
    expect({ code, err }).toMatchObject({ code: 0 });
    const all = "words: beside 2.0.0 from the folder job ready for job small";
    expect(out.split("\n")).toEqual([
      // The command is any program: a setup module is for workers.
      "driver words: beside 2.0.0 from the folder job unset small",
      `here ${all}`,
      `here actor ${all}`,
      `there ${all}`,
      `there actor ${all}`,
      `nested ${all}`,
      "own words: beside 2.0.0 from the folder own ready for own small",
      "",
    ]);
  }, 120_000);

  test("each part by itself, and what init says goes before it", async () => {
    const files = {
      "app.mjs": program,
      "lib/words.mjs": 'export const prefix = "words:";',
      "data/word": "from the folder",
    };
    const folder = folderWith({
      ...files,
      "only.yaml": "env: { WHO: job }\n",
      "options.json": '{ "nodeOptions": ["--max-old-space-size=300"] }',
    });
    const run = async (...args: string[]) => {
      const { code, out, err } = await mobula(folder, "submit", ...args, `${NODE} ${join(folder, "app.mjs")}`);
      expect({ code, err }).toMatchObject({ code: 0 });
      return out.split("\n").filter((line) => /^(driver|there) (?!actor)/.test(line));
    };
    // Of the program itself what the job says counts, and of its workers what it says in `init`.
    expect(await run("--runtime-env", "only.yaml", "--env", 'INIT={"runtimeEnv":{"env":{"WHO":"init"}}}')).toEqual([
      "driver words: none none job unset large",
      "there words: none none init unset large",
    ]);
    expect(await run("--runtime-env", "options.json", "--working-dir", ".", "--env", "WHO=folder")).toEqual([
      "driver words: none from the folder folder unset small",
      "there words: none from the folder folder unset small",
    ]);
  }, 120_000);

  test("that cannot be had: the job fails with what said so, and a stop ends what makes it ready", async () => {
    const folder = withPackages(folderWith({ "env.yaml": "workingDir: .\nnpm: true\n" }), [
      { name: "broken", version: "1.0.0" },
    ]);
    writeFileSync(join(folder, "broken-1.0.0.tgz"), "this is no archive");
    const { code, err } = await mobula(
      folder,
      "submit",
      "--submission-id",
      "broken",
      "--runtime-env",
      "env.yaml",
      "true",
    );
    expect(code).toBe(1);
    expect(err).toMatch(/npm ci .* failed/);
    expect((await mobula(folder, "why", "broken")).out).toMatch(/npm ci .* failed/s);
    const refused = await mobula(folder, "submit", "--runtime-env", "bad.yaml", "true");
    expect(refused.err).toMatch(/bad.yaml/);
    writeFileSync(join(folder, "bad.yaml"), "setup: ./setup.mjs\n");
    expect((await mobula(folder, "submit", "--runtime-env", "bad.yaml", "true")).err).toMatch(
      /must lie in the working directory, which must be uploaded/,
    );
  }, 60_000);
});
