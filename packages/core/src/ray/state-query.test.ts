import { describe, expect, test } from "vitest";
import { COLUMNS } from "./state-columns.ts";
import { listRows, parseRayQuery, passes, type RayRow, shown } from "./state-query.ts";

const query = (text: string) => parseRayQuery("actors", new URLSearchParams(text));
const filter = (key: string, predicate: string, value: string): string =>
  new URLSearchParams([
    ["filter_keys", key],
    ["filter_predicates", predicate],
    ["filter_values", value],
  ]).toString();

describe("what a request asks for", () => {
  test("has Ray's defaults", () => {
    expect(query("timeout=24&exclude_driver=True&server_timeout_multiplier=0.8")).toEqual({
      limit: 100,
      isDetailed: false,
      filters: [],
    });
    expect(query("limit=5&detail=True")).toMatchObject({ limit: 5, isDetailed: true });
  });

  test("filters are values as their columns have them, and may be repeated", () => {
    expect(query(`${filter("PID", "=", "12")}&${filter("state", "!=", "DEAD")}`).filters).toEqual([
      { key: "pid", isEqual: true, value: 12 },
      { key: "state", isEqual: false, value: "DEAD" },
    ]);
  });

  test.each([
    ["limit=20000", "Given limit 20000 exceeds the supported limit 10000"],
    ["limit=x", "Failed to convert a value x"],
    ["detail=maybe", "Failed to convert a value maybe"],
    [filter("pid", "=", "abc"), "Failed to convert a value abc of type <class 'str'> to <class 'int'>"],
    [filter("nope", "=", "1"), "The given filter column nope is not supported"],
    [filter("is_detached", "=", "1"), "The given filter column is_detached is not supported"],
    [filter("state", ">", "1"), "Unsupported filter predicate > is given. Available predicates: =, !=."],
    [filter("actor_id", "=", "00"), "ID string needs to have length 16, got 1"],
    [filter("actor_id", "=", "zz"), "non-hexadecimal number found"],
    ["filter_keys=state", "must be as many"],
  ])("%s is refused in Ray's words", (text, why) => {
    expect(() => query(text)).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION", message: expect.stringContaining(why) }),
    );
  });
});

test("texts are compared without regard to case, and null is not equal to anything that can be asked for", () => {
  const row: RayRow = { state: "ALIVE", node_id: null, is_alive: true };
  expect(passes(row, { key: "state", isEqual: true, value: "alive" })).toBe(true);
  expect(passes(row, { key: "node_id", isEqual: true, value: "x" })).toBe(false);
  expect(passes(row, { key: "node_id", isEqual: false, value: "x" })).toBe(true);
  expect(passes(row, { key: "is_alive", isEqual: true, value: true })).toBe(true);
});

test("columns come in Ray's order, those of details only when they are wanted, and one that is not known is null", () => {
  expect(Object.keys(shown("nodes", {}, false))).toEqual([
    "node_id",
    "node_ip",
    "is_head_node",
    "state",
    "state_message",
    "node_name",
    "resources_total",
    "labels",
  ]);
  expect(shown("nodes", { node_id: "a" }, true)).toMatchObject({ node_id: "a", end_time_ms: null });
  expect(COLUMNS.tasks.filter(({ isDetail }) => !isDetail)).toHaveLength(13);
});

test("a list is sorted, cut after filtering, and counts all; rows that are not shown are not made", () => {
  const sources = ["c", "a", "d", "b"];
  const made: string[] = [];
  const list = (text: string) =>
    listRows(
      "actors",
      sources,
      {
        idOf: (source) => source,
        rowOf(source) {
          made.push(source);
          return { actor_id: source, state: source === "d" ? "DEAD" : "ALIVE" };
        },
        partial: ["node n2 did not answer"],
      },
      query(text),
    );
  expect(list("limit=2")).toMatchObject({
    total: 4,
    num_after_truncation: 4,
    num_filtered: 4,
    result: [{ actor_id: "a" }, { actor_id: "b" }],
    partial_failure_warning: "The returned data may contain incomplete result. node n2 did not answer",
  });
  expect(made).toEqual(["a", "b"]);
  const found = list(`limit=1&${filter("state", "!=", "dead")}`);
  expect(found).toMatchObject({ total: 4, num_filtered: 3, result: [{ actor_id: "a" }] });
});
