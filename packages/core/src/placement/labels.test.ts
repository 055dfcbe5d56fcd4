import { describe, expect, test } from "vitest";
import { isError } from "../base/errors.ts";
import { admits, mismatch, parseSelector } from "./labels.ts";

describe("label selectors", () => {
  test.each([
    [{ zone: "a" }, { zone: "a" }, true],
    [{ zone: "a" }, { zone: "b" }, false],
    [{ zone: "a" }, {}, false],
    [{ zone: "!a" }, { zone: "b" }, true],
    [{ zone: "!a" }, { zone: "a" }, false],
    [{ zone: "!a" }, {}, true],
    [{ zone: "in(a, b)" }, { zone: "b" }, true],
    [{ zone: "in(a,b)" }, { zone: "c" }, false],
    [{ zone: "in(a,b)" }, {}, false],
    [{ zone: "!in(a,b)" }, { zone: "c" }, true],
    [{ zone: "!in(a,b)" }, { zone: "a" }, false],
    [{ zone: "!in(a,b)" }, {}, true],
    [{ zone: "a", tier: "!spot" }, { zone: "a", tier: "spot" }, false],
    [{}, { zone: "a" }, true],
  ])("%j on a node with %j: %s", (selector, labels, expected) => {
    const parsed = parseSelector(selector as Record<string, string>);
    expect(admits(parsed, labels as Record<string, string>)).toBe(expected);
    expect(mismatch(parsed, labels as Record<string, string>) === undefined).toBe(expected);
  });

  test("selectors that say the same have the same key", () => {
    const one = parseSelector({ zone: "in(b,a,b)", tier: "x" });
    expect(parseSelector({ tier: "in(x)", zone: "in(a, b)" }).key).toBe(one.key);
    expect(parseSelector({ tier: "!x", zone: "in(a,b)" }).key).not.toBe(one.key);
  });

  test.each(["", "!", "in()", "in(a,)", "in(a", "a b", "!!a", "in(a)x"])(
    "%j is refused, named with its key",
    (text) => {
      let error: unknown;
      try {
        parseSelector({ zone: text });
      } catch (thrown) {
        error = thrown;
      }
      expect(isError(error, "INVALID_OPTION")).toBe(true);
      expect(String(error)).toContain(`labelSelector.zone is ${JSON.stringify(text)}`);
    },
  );

  test("a node that is not admitted is told why", () => {
    expect(mismatch(parseSelector({ zone: "in(a,b)" }), { zone: "c" })).toBe(
      'has the label zone "c", and "a" or "b" is wanted',
    );
    expect(mismatch(parseSelector({ zone: "!a" }), { zone: "a" })).toBe(
      'has the label zone "a", and not "a" is wanted',
    );
    expect(mismatch(parseSelector({ zone: "a" }), {})).toBe('has no label zone, and "a" is wanted');
  });
});
