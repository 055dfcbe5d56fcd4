/** Networks that delay, lose, reorder, repeat, damage and swallow packets, by the kernel's netem: in User Mode Linux. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { beforeAll, describe, expect, test } from "vitest";
import { hasKernel, runInGuest } from "../user-mode-linux.ts";

const core = join(import.meta.dirname, "../..");
/** Made from their sources: types are stripped slowly there. */
const made = (name: string): string => join(core, `node_modules/.cache/${name}.mjs`);

interface Seen {
  readonly right: unknown;
  readonly passed: { readonly sent: number; readonly dropped: number };
  readonly states: readonly string[];
}

describe.skipIf(!hasKernel)("networks of netem (needs User Mode Linux, see scripts/user-mode-linux.sh)", () => {
  const seen = new Map<string, Seen>();
  let output = "";

  beforeAll(async () => {
    await promisify(execFile)(process.execPath, [join(core, "scripts/build.ts"), "--no-types"]);
    for (const name of ["impaired", "impaired-machines"]) {
      const source = join(import.meta.dirname, `fixtures/${name}.ts`);
      const how = { bundle: true, platform: "node", format: "esm" } as const;
      await build({ entryPoints: [source], outfile: made(name), external: ["mobula"], ...how });
    }
    const command = `node ${made("impaired-machines")} packages/core/dist/cli.cjs ${made("impaired")}`;
    output = await runInGuest(command, { memory: "2048M", withNetworks: true });
    for (const line of output.split("\n")) {
      if (!line.startsWith("@")) continue;
      const [name, value] = JSON.parse(line.slice(1)) as [string, Seen];
      seen.set(name, value);
    }
  }, 240_000);

  test.each([
    ["delay", "arrives late, by 20 to 60 ms each way", 0],
    ["loss", "is lost, each twentieth packet each way", 10],
    ["disorder", "comes in another order, some of it twice", 0],
    ["damage", "is damaged on the way", 0],
    ["partition", "is lost for more than a second", 0],
  ])("%s: what %s arrives as it was, in order and once; nobody is given up", (name, _what, dropped) => {
    const one = seen.get(name);
    expect(one?.right, output).toEqual({ tasks: true, calls: true, object: true });
    expect(one?.passed.sent).toBeGreaterThan(100);
    expect(one?.passed.dropped).toBeGreaterThanOrEqual(dropped);
    expect(one?.states).toEqual(["m0 alive", "m1 alive"]);
  });

  test("while it was cut nothing got through", () => {
    const cut = seen.get("cut") as unknown as Seen["passed"];
    expect(cut.sent, output).toBe(0);
    expect(cut.dropped).toBeGreaterThan(0);
  });
});
