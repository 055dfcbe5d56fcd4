import { expect, test } from "vitest";
import { refusedNodeOption } from "./node-options.ts";

test.each([
  "--inspect=9229",
  "--inspect-port=1",
  "-e",
  "--eval=1",
  "--test",
  "--watch",
  "--no-addons",
  "--check",
  "--env-file=.env",
])("%s would break a worker", (option) => {
  expect(refusedNodeOption(option)).toMatch(/\w/);
});

test.each([
  "--max-old-space-size=100",
  "--expose-gc",
  "--inspect",
  "--conditions=x",
  "--require=./x.cjs",
  "--stack-trace-limit=5",
  "--test-name",
])("%s does not", (option) => {
  expect(refusedNodeOption(option)).toBeUndefined();
});
