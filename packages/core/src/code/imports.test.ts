import { expect, test } from "vitest";
import { importsOf } from "./imports.ts";

const all = (source: string) => {
  const { linked, called, beside } = importsOf(source);
  return [linked, called, beside];
};

test("statements that load a module, in all their forms", () => {
  const source = `#!/usr/bin/env node
    import "a"; import b from 'b'; import * as c from "c"; import d, { e as f, "g h" as i } from "d";
    import j from "j" with { type: "json" };
    export * from "k"; export * as l from "l"; export { m } from "m"; export { n }; export default "o";
    import type from "p"; import { type Q, r } from "q";`;
  expect(all(source)).toEqual([["a", "b", "c", "d", "j", "k", "l", "m", "p", "q"], [], []]);
});

test("types load nothing", () => {
  expect(
    all(`import type { A } from "a"; import type B from "b"; export type { C } from "c"; export type * from "d";`),
  ).toEqual([[], [], []]);
});

test("calls with a text, and files beside the module", () => {
  const source = `
    await import("a"); import(\`b\`); require("c"); require.resolve("d"); import.meta.resolve("e");
    new URL("./f.txt", import.meta.url); join(__dirname, "g", "h.txt"); resolve(import.meta.dirname, "i.txt");
    import(computed); require(\`\${x}\`); new URL("./j", base); other.require("k"); join(__dirname, x);`;
  expect(all(source)).toEqual([[], ["a", "b", "c", "d", "e"], ["./f.txt", "g/h.txt", "i.txt"]]);
});

test("comments, strings, templates and regular expressions are not code", () => {
  const source = `
    // import "a"
    /* require("b") */
    const s = "import 'c'", t = \`import "d" \${require("yes1") + \`\${require("yes2")} require("e")\`} require("f")\`;
    const r = /["'\`]/.test(s), q = a / b / require("yes3"), u = [/[/"]/, /\\//g]; require("yes4");`;
  expect(all(source)).toEqual([[], ["yes1", "yes2", "yes3", "yes4"], []]);
});

test("what cannot be told apart costs no more than its own line", () => {
  expect(all(`const x = <p>don't</p>;\nimport "a";\nif (x) /it's/.test(y);\nimport "b";`)).toEqual([
    ["a", "b"],
    [],
    [],
  ]);
});
