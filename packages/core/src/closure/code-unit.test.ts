import fc from "fast-check";
import { expect, test } from "vitest";
import { draftUnit, readUnit, renderUnit, writeUnit } from "./code-unit.ts";
import { ProgramIndex, type Site } from "./program.ts";

function programOf(source: string, isModule = true): ProgramIndex {
  return new ProgramIndex({ id: "1", url: "file:///a/b.mjs", source, isModule });
}

function siteOf(program: ProgramIndex, text: string): Site {
  const start = program.script.source.indexOf(text);
  const { line, column } = program.position(start);
  const site = program.find(text, line, column);
  if (!site) throw new Error(`nothing stands at ${text}`);
  return site;
}

test("the text stands where it was written", () => {
  const program = programOf("const a = 1;\n\n  const f = (x) =>\n    x + a;\n");
  const { unit } = draftUnit(program, siteOf(program, "(x) =>\n    x + a"), "f");
  const lines = renderUnit(unit).split("\n");
  expect(lines[2]?.indexOf("(x)")).toBe(12);
  expect(lines[3]).toBe("    x + a");
  expect(lines.at(-1)).toBe("//# sourceURL=file:///a/b.mjs");
});

test("import, method keys, heritage and computed names are replaced by something as long", () => {
  const source = [
    "const o = { async [key + 1](x) { return import(x) } };",
    "class C extends make(Base) { [names.one]() { return import.meta.url } static [two]() {} }",
  ].join("\n");
  const program = programOf(source);
  const method = draftUnit(program, siteOf(program, "async [key + 1](x) { return import(x) }"), "").unit;
  expect(method.source).toBe("async m        (x) { return imp$rt(x) }");
  const text = source.slice(source.indexOf("class"));
  const { unit, baseName, keys } = draftUnit(program, siteOf(program, text), "");
  expect(unit.source).toBe("class C extends $b         { [$0       ]() { return imp$rt.meta.url } static [two]() {} }");
  expect(unit.source.length).toBe(text.length);
  expect(baseName).toBe("$b");
  expect(keys).toEqual([
    { name: "$0", memberIndex: 0 },
    { name: "two", memberIndex: 1 },
  ]);
});

test("static initialisers that read captured names wait, others do not", () => {
  const source = "class C { static a = 1; static b = other(); static c = () => other; static { other() } }";
  const program = programOf(source);
  expect(draftUnit(program, siteOf(program, source), "").unit.source).toBe(
    "class C { static a = 1; static b = defer$(()=>(other()),$=>{this.b=$}); static c = () => other; static {defer$(()=>{ other() })} }",
  );
});

test("a unit is the same after it has travelled, and its hash says what it is", () => {
  const program = programOf("const f = () => 1;");
  const { unit } = draftUnit(program, siteOf(program, "() => 1"), "f");
  expect(readUnit(writeUnit(unit))).toEqual(unit);
  const { unit: other } = draftUnit(program, siteOf(program, "() => 1"), "g");
  expect(other.hash).not.toBe(unit.hash);
});

test("any function at any place is found by its text and location", () => {
  const piece = fc.constantFrom(
    "() => 1",
    "function f() { return 1 }",
    "class A { m() { return 1 } }",
    "async (x) => x",
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(piece, fc.constantFrom("\n", "  ", "\r\n", "/* é */ "))), (pieces) => {
      const parts = pieces.map(([text, space], index) => `${space}const v${index} =${space}${text};`);
      const program = programOf(parts.join(""));
      let at = 0;
      for (const [text] of pieces) {
        at = program.script.source.indexOf(text, at);
        const { line, column } = program.position(at);
        expect(program.find(text, line, column)?.start).toBe(at);
        at += text.length;
      }
    }),
  );
});

test("imports, requires and exports are known by local name", () => {
  const module = programOf(
    'import a, { b as c, default as d } from "x"; import * as e from "./y.mjs"; import j from "./z.json" with { type: "json" };\n' +
      "export const f = 1; const g = 2; export { g as h }; export default function i() {}",
  );
  expect(Object.fromEntries(module.sources)).toEqual({
    a: { specifier: "x", how: "export", name: "default" },
    c: { specifier: "x", how: "export", name: "b" },
    d: { specifier: "x", how: "export", name: "default" },
    e: { specifier: "./y.mjs", how: "namespace", name: "" },
  });
  expect(Object.fromEntries(module.exported)).toEqual({ f: "f", g: "h", i: "default" });
  const common = programOf('const a = require("x"), { b, c: d } = require("y"), e = require("z").f;', false);
  expect(Object.fromEntries(common.sources)).toEqual({
    a: { specifier: "x", how: "require", name: "" },
    b: { specifier: "y", how: "require", name: "b" },
    d: { specifier: "y", how: "require", name: "c" },
    e: { specifier: "z", how: "require", name: "f" },
  });
});
