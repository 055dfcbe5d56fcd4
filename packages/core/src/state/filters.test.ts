import { expect, test } from "vitest";
import { checkSort, pageOf, parseListQuery } from "./filters.ts";
import { SORT_KEYS } from "./rows.ts";

const rows = [
  { name: "c", size: 3, at: null, all: [1, 2] },
  { name: "a", size: 10, at: 5, all: [] },
  { name: "b", size: 3, at: 4, all: [1] },
];
const KEYS = ["name", "size", "at", "all"];
const sorted = (sort: string, limit = 10, cursor?: string) =>
  pageOf(rows, parseListQuery({ sort, limit, cursor }), KEYS);
const names = (sort: string) =>
  sorted(sort)
    .rows.map(({ name }) => name)
    .join("");

test("rows are sorted by texts, numbers and how many a list has; those without a value come last, either way", () => {
  expect(names("name")).toBe("abc");
  expect(names("-name")).toBe("cba");
  // Of those that are equal the first stays the first.
  expect(names("size")).toBe("cba");
  expect(names("-size")).toBe("acb");
  expect([names("at"), names("-at")]).toEqual(["bac", "abc"]);
  expect(names("-all")).toBe("cba");
  expect(names("")).toBe("cab");
});

test("pages of sorted rows are in the order of all", () => {
  const first = sorted("-name", 2);
  expect(first).toMatchObject({ rows: [{ name: "c" }, { name: "b" }], total: 3, next: "2" });
  expect(sorted("-name", 2, "2")).toMatchObject({ rows: [{ name: "a" }], total: 3, next: null });
});

test("what cannot be sorted by is refused, with what can", () => {
  expect(SORT_KEYS.nodes).toContain("cpuPercent");
  expect(SORT_KEYS.nodes).not.toContain("resources");
  const { sort } = parseListQuery({ sort: "-resources" });
  expect(() => checkSort(sort, "nodes", SORT_KEYS.nodes)).toThrow(
    /^nodes cannot be sorted by "resources"; they can by nodeId, name, state, address/,
  );
});
