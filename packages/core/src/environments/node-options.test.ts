import { expect, test } from "vitest";
import { refusedNodeOption } from "./node-options.ts";

test.each([
  "--inspect",
  "--inspect-brk=0",
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
  "--conditions=x",
  "--require=./x.cjs",
  "--stack-trace-limit=5",
  "--test-name",
])("%s does not", (option) => {
  expect(refusedNodeOption(option)).toBeUndefined();
});
