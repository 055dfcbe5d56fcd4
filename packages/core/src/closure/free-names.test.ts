import { type AnyNode, parse } from "acorn";
import { expect, test } from "vitest";
import { assignedNames, tiesOf } from "./free-names.ts";

function ties(text: string, sourceType: "commonjs" | "module" = "commonjs"): ReturnType<typeof tiesOf> {
  const program = parse(`(${text})`, { ecmaVersion: "latest", sourceType, checkPrivateFields: false });
  const [statement] = program.body;
  if (statement?.type !== "ExpressionStatement") throw new Error("the text must be an expression");
  return tiesOf(statement.expression as AnyNode);
}

const names = (text: string): string[] => [...ties(text).names].sort();

test("declared names are not free: parameters, variables, functions, classes, catch, loops", () => {
  expect(
    names(`function f(a, { b: [c = d], ...e }, ...g) {
      var h = a + c + i; let j; const k = 1; function l() {} class M {}
      for (const n of o) p(n); for (let q = 0; q < 1; q++); for (r in s) ;
      try { t() } catch ({ u }) { u } switch (v) { case 1: let w; w }
      x: while (y) break x;
      return [b, e, g, h, j, k, l, M, n, q, u2]
    }`),
  ).toEqual(["b", "d", "i", "n", "o", "p", "q", "r", "s", "t", "u2", "v", "y"]);
});

test("a default parameter does not see the variables of the body", () => {
  expect(names("function f(a = x) { var x = 1; return x + a }")).toEqual(["x"]);
  expect(names("function f(a) { var x = 1; return x + a }")).toEqual([]);
});

test("keys and members are names only when computed, shorthand always", () => {
  expect(names("() => ({ a: b.c, [d]: e[f], g, h() { return i } })")).toEqual(["b", "d", "e", "f", "g", "i"]);
});

test("classes: heritage, computed names, fields and static blocks are read from outside, the class's name is not", () => {
  expect(
    names("class A extends b.C { [d] = e; static f = g(A); static { var h; h = i } #j = k; l() { return this.#j } }"),
  ).toEqual(["b", "d", "e", "g", "i", "k"]);
});

test("outer this, arguments, new.target, super and private names are told apart from the function's own", () => {
  const arrow = ties("() => [this, arguments, new.target, this.#q]");
  expect(arrow).toMatchObject({ usesOuterThis: true, usesOuterArguments: true, usesOuterNewTarget: true });
  expect([...arrow.privateNames]).toEqual(["#q"]);
  const own = ties("function () { return () => [this, arguments, new.target] }");
  expect(own).toMatchObject({ usesOuterThis: false, usesOuterArguments: false, usesOuterNewTarget: false });
  expect(ties("class A extends B { m() { return () => super.m(this) } f = () => this }")).toMatchObject({
    usesSuper: false,
    usesOuterThis: false,
  });
});

test("direct eval is found, and where import stands", () => {
  expect(ties("() => eval('x')").hasDirectEval).toBe(true);
  expect(ties("() => (0, eval)('x')").hasDirectEval).toBe(false);
  expect(ties("() => [import('x'), import.meta.url]", "module").imports).toHaveLength(2);
});

test("assigned names are found in every form of assignment", () => {
  const program = parse(
    "let a, b, c, d, e, f, g, h = 1; a = 1; b++; [c] = x; ({ y: d, ...e } = x); for (f of x); for (g in x); h.z = 1; a ??= 2",
    { ecmaVersion: "latest" },
  );
  expect([...assignedNames(program)].sort()).toEqual(["a", "b", "c", "d", "e", "f", "g"]);
});
