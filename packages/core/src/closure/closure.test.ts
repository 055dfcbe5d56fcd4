import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, describe, expect, test } from "vitest";
import { mobula } from "../esbuild/mod.ts";

// Programs under `fixtures/` ship functions to a real other process and report one line a check. They run in plain
// Node.js, because vitest rewrites the code that it loads; each line becomes a test here.

const fixtures = fileURLToPath(new URL("./fixtures/", import.meta.url));
const modules = fileURLToPath(new URL("../../../../node_modules/", import.meta.url));
const outputs = mkdtempSync(join(tmpdir(), "mobula-closure-"));
afterAll(() => rmSync(outputs, { recursive: true, force: true }));

interface Outcome {
  readonly name: string;
  readonly error?: string;
}

async function run(
  command: string,
  args: readonly string[],
  options: { env?: Record<string, string>; input?: string } = {},
): Promise<{ outcomes: Outcome[]; output: string }> {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    MOBULA_TEST_RECEIVER: join(fixtures, "receiver.ts"),
    ...options.env,
  };
  // vitest's own settings must not reach the programs.
  env.NODE_OPTIONS = "";
  const child = spawn(command, args, { env, cwd: fixtures, stdio: ["pipe", "pipe", "pipe"], timeout: 120_000 });
  let output = "";
  child.stdout.on("data", (data) => {
    output += data;
  });
  child.stderr.on("data", (data) => {
    output += data;
  });
  child.stdin.end(options.input ?? "");
  await new Promise((resolve) => child.on("close", resolve));
  const lines = output.split("\n").filter((line) => line.includes("CHECK {"));
  const outcomes = lines.map((line) => JSON.parse(line.slice(line.indexOf("{"))) as Outcome);
  return { outcomes, output };
}

function report(title: string, { outcomes, output }: { outcomes: Outcome[]; output: string }, atLeast: number): void {
  describe(title, () => {
    for (const { name, error } of outcomes) {
      test(name, () => {
        if (error !== undefined) throw new Error(error);
      });
    }
    test(`all of its ${atLeast} checks ran`, () => {
      expect(outcomes.length, output).toBeGreaterThanOrEqual(atLeast);
    });
  });
}

const node = process.execPath;

report("an ES module with types", await run(node, ["esm.mts"]), 56);
report("with code sent apart from values", await run(node, ["esm.mts"], { env: { MOBULA_TEST_UNITS: "apart" } }), 56);
report("unusual cases", await run(node, ["edges.mts"]), 17);
report("without the inspector", await run(node, ["--permission", "--allow-fs-read=*", "permission.mts"]), 1);
report("a CommonJS program", await run(node, ["commonjs.cjs"]), 9);
report("the REPL", await run(node, ["-i"], { input: replInput() }), 5);
report("under tsx", await run(join(modules, ".bin/tsx"), ["transpiled.ts"], { env: { MOBULA_TEST_BY_NAME: "1" } }), 5);

const common = { bundle: true, platform: "node", format: "esm", logLevel: "error" } as const;
for (const minify of [false, true]) {
  const outfile = join(outputs, `bundle-${minify}.mjs`);
  await build({ ...common, entryPoints: [join(fixtures, "transpiled.ts")], outfile, minify, keepNames: true });
  report(`a bundle by esbuild${minify ? ", minified" : ""}`, await run(node, [outfile]), 5);
}
await build({
  ...common,
  absWorkingDir: fixtures,
  entryPoints: ["transpiled.ts"],
  outdir: join(outputs, "split"),
  outExtension: { ".js": ".mjs" },
  plugins: [mobula({ taskModules: ["tasks.ts"] })],
});
report(
  "a bundle by esbuild with task modules as entries",
  await run(node, [join(outputs, "split/transpiled.mjs")], { env: { MOBULA_TEST_BY_NAME: "1" } }),
  5,
);

test("the benchmark runs", async () => {
  const { output } = await run(node, ["../closure.bench.ts", "20"]);
  expect(output).toMatch(/revive of a known unit with one captured value: [\d.]+ µs/);
});

/** What a person types; functions and variables of one line are used on the next. */
function replInput(): string {
  return `${[
    `const { assert, call, check, finish, refused } = require(${JSON.stringify(join(fixtures, "harness.ts"))})`,
    "let factor = 3",
    "function helper(x) { return x * factor }",
    "const path = require('node:path')",
    "class Typed { #v = 1; get() { return this.#v + factor } }",
    "let counter = 0",
    "const inc = () => ++counter; const get = () => counter",
    "check('functions and variables of earlier lines', async () => assert.equal(await call((x) => helper(x) + 1, 2), 7))",
    "check('a function declared on a line of its own', async () => assert.equal(await call(helper, 2), 6))",
    "check('classes', async () => assert.equal(await call(() => new Typed().get()), 4))",
    "check('shared variables', async () => assert.deepEqual(await call((i, g) => [i(), i(), g()], inc, get), [1, 2, 2]))",
    "check('built-in modules', async () => assert.deepEqual(await call(() => [path.sep, typeof os.cpus], 1), ['/', 'function']))",
    "await finish()",
    ".exit",
  ].join("\n")}\n`;
}
