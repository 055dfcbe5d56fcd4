import fc from "fast-check";
import { expect, test } from "vitest";
import { BOX_HEIGHT, BOX_WIDTH, layoutGraph, pathOf } from "./layout.ts";

const edge = (text: string) => {
  const [from = "", to = ""] = text.split(">");
  return { from, to };
};

test("those who are called are below those who call, by the longest way", () => {
  const { places } = layoutGraph({ names: ["a", "b", "c"], edges: ["a>b", "b>c", "a>c"].map(edge) });
  const y = (name: string) => places.get(name)?.y ?? 0;
  expect(y("a")).toBeLessThan(y("b"));
  expect(y("b")).toBeLessThan(y("c"));
});

test("a cycle and a call of itself are drawn, and end", () => {
  const { places, paths } = layoutGraph({ names: ["a", "b"], edges: ["a>b", "b>a", "b>b"].map(edge) });
  expect(places.size).toBe(2);
  expect(paths.map((path) => path.length > 1)).toEqual([true, true, true]);
  // The call back begins at the one who calls: the lower one.
  expect(paths[1]?.[0]?.y).toBeGreaterThan(paths[1]?.at(-1)?.y ?? Number.POSITIVE_INFINITY);
});

test("two pairs that would cross do not", () => {
  const { places } = layoutGraph({ names: ["a", "b", "x", "y"], edges: ["a>y", "b>x"].map(edge) });
  const x = (name: string) => places.get(name)?.x ?? 0;
  expect(Math.sign(x("a") - x("b"))).toBe(Math.sign(x("y") - x("x")));
});

test("an edge over several layers passes beside the boxes between", () => {
  const { places, paths } = layoutGraph({ names: ["a", "b", "c"], edges: ["a>b", "b>c", "a>c"].map(edge) });
  const [, , long = []] = paths;
  const b = places.get("b");
  const beside = long.filter(({ y }) => Math.abs(y - (b?.y ?? 0)) <= BOX_HEIGHT / 2);
  expect(beside.length).toBe(2);
  for (const { x } of beside) expect(Math.abs(x - (b?.x ?? 0))).toBeGreaterThan(BOX_WIDTH / 2);
});

test("those without calls stand in rows below, four or more beside each other", () => {
  const names = ["a", "b", ...Array.from({ length: 9 }, (_, at) => `alone ${at}`)];
  const { places, width } = layoutGraph({ names, edges: [edge("a>b")] });
  const rows = new Set(names.slice(2).map((name) => places.get(name)?.y));
  expect(rows.size).toBe(3);
  for (const y of rows) expect(y).toBeGreaterThan(places.get("b")?.y ?? 0);
  expect(width).toBeLessThan(5 * (BOX_WIDTH + 40));
});

test("nothing, and edges to what is not there, are laid out", () => {
  expect(layoutGraph({ names: [], edges: [edge("a>b")] })).toMatchObject({ width: 0, paths: [[]] });
  expect(layoutGraph({ names: ["a"], edges: [edge("a>gone")] }).paths).toEqual([[]]);
});

test("boxes never overlap and lie inside, whatever calls whatever", () => {
  const names = fc.uniqueArray(fc.integer({ min: 0, max: 30 }).map(String), { minLength: 1, maxLength: 24 });
  const graphs = names.chain((all) =>
    fc.record({
      names: fc.constant(all),
      edges: fc.array(fc.record({ from: fc.constantFrom(...all), to: fc.constantFrom(...all) }), { maxLength: 50 }),
    }),
  );
  fc.assert(
    fc.property(graphs, (graph) => {
      const { places, width, height } = layoutGraph(graph);
      const boxes = [...places.values()];
      expect(boxes.length).toBe(graph.names.length);
      for (const [at, a] of boxes.entries()) {
        expect(a.x - BOX_WIDTH / 2).toBeGreaterThanOrEqual(0);
        expect(a.x + BOX_WIDTH / 2).toBeLessThanOrEqual(width);
        expect(a.y + BOX_HEIGHT / 2).toBeLessThanOrEqual(height);
        for (const b of boxes.slice(at + 1)) {
          const isApart = Math.abs(a.x - b.x) >= BOX_WIDTH - 0.001 || Math.abs(a.y - b.y) >= BOX_HEIGHT;
          expect(isApart).toBe(true);
        }
      }
    }),
    { numRuns: 200 },
  );
});

test("a path is straight or bends vertically at both ends", () => {
  expect(pathOf([])).toBe("");
  expect(
    pathOf([
      { x: 1, y: 0 },
      { x: 1, y: 9 },
    ]),
  ).toBe("M1 0L1 9");
  expect(
    pathOf([
      { x: 0, y: 0 },
      { x: 10, y: 20 },
    ]),
  ).toBe("M0 0C0 10 10 10 10 20");
});
