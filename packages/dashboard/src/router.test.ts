import { expect, test } from "vitest";
import { href, parseRoute } from "./router.ts";

test("what a link says is read again, whatever is in it", () => {
  const id = 'a/b ?#&="><script>';
  const { segments, params } = parseRoute(
    href(["tasks", id], { filter: ["name~x&y", "state=failed"], tab: undefined }),
  );
  expect(segments).toEqual(["tasks", id]);
  expect(params.getAll("filter")).toEqual(["name~x&y", "state=failed"]);
  expect(params.has("tab")).toBe(false);
});

test("filters can be read in the address", () => {
  expect(href(["tasks"], { filter: ["state=failed", "name~embed"] })).toBe(
    "#/tasks?filter=state=failed&filter=name~embed",
  );
});

test("the first page has no path, and a broken one is taken as it is", () => {
  expect(href([])).toBe("#/");
  expect(parseRoute("").segments).toEqual([]);
  expect(parseRoute("#/find/100%").segments).toEqual(["find", "100%"]);
});
