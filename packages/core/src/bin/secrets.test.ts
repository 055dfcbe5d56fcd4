import { expect, test } from "vitest";
import { withoutSecrets } from "./secrets.ts";

test.each([
  ["MOBULA_TOKEN=abcdef012345 mobula start", "MOBULA_TOKEN=(hidden) mobula start"],
  ['{"api_key": "sk-123", "name": "x"}', '{"api_key": "(hidden)", "name": "x"}'],
  ["AWS_SECRET_ACCESS_KEY and password: hunter2", "AWS_SECRET_ACCESS_KEY and password: (hidden)"],
  ["nats://user:pass@host:4222/cluster", "nats://user:(hidden)@host:4222/cluster"],
  ["Authorization: Bearer abc.def-ghi", "Authorization: Bearer (hidden)"],
  ["http://127.0.0.1:8265/?code=abc.def.ghi", "http://127.0.0.1:8265/?code=(hidden)"],
  ["the tokens of a language model: 12", "the tokens of a language model: 12"],
])("%s", (text, shown) => expect(withoutSecrets(text)).toBe(shown));

test("what is known to be secret goes, wherever it stands", () => {
  expect(withoutSecrets("x s3cr3t-token y", ["s3cr3t-token"])).toBe("x (hidden) y");
});
