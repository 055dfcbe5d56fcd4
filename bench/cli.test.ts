import { expect, test } from "vitest";
import { parseCommandLine } from "./cli.ts";

test("peers may be repeated, rounds default to five, and to one for quick runs", () => {
  const line = parseCommandLine(["--peer", "ray", "--peer", "piscina", "--peer", "ray"]);
  expect(line.peers).toEqual(["ray", "piscina"]);
  expect(line.rounds).toBe(5);
  expect(parseCommandLine(["--quick"]).rounds).toBe(1);
});

test("a wrong argument is refused with what is allowed", () => {
  expect(() => parseCommandLine(["--peer", "dask"])).toThrow(`"ray" or "piscina", not "dask"`);
  expect(() => parseCommandLine(["--rounds", "0"])).toThrow("whole number");
  expect(() => parseCommandLine(["--fast"])).toThrow("--fast");
});
