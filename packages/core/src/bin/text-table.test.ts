import { expect, test } from "vitest";
import { table } from "./text-table.ts";

const id = "7".repeat(48);

test("a table fits its columns: names are cut, empty columns left out, and the last goes on in further lines", () => {
  const rows = [
    ["ID", "NAME", "STATE", "ERROR"],
    [id, "a-function-with-a-long-name", "failed", "it failed for a reason that takes more than one line"],
    [id, "short", "finished", ""],
  ];
  expect(table(rows, 100, (heading) => heading === "NAME")).toEqual([
    `ID${" ".repeat(48)}NAME                STATE     ERROR`,
    `${id}  a-function-with-a…  failed    it failed for a`,
    `${" ".repeat(80)}  reason that takes`,
    `${" ".repeat(80)}  more than one line`,
    `${id}  short               finished`,
  ]);
  expect(table(rows, 80, (heading) => heading === "NAME")).toEqual([
    `ID${" ".repeat(48)}NAME        STATE`,
    `${id}  a-functio…  failed`,
    "  it failed for a reason that takes more than one line",
    `${id}  short       finished`,
  ]);
  const finished = rows.map((row, at) => (at === 1 ? [...row.slice(0, 3), ""] : row));
  expect(table(finished, 80, (heading) => heading === "NAME")).toEqual([
    `ID${" ".repeat(48)}NAME                  STATE`,
    `${id}  a-function-with-a-l…  failed`,
    `${id}  short                 finished`,
  ]);
});
