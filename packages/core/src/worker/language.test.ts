import { expect, test } from "vitest";
import type { Client } from "../client/mod.ts";
import { WorkerTemplate } from "./connection.ts";

test("a function of another language is refused in words, and not read", async () => {
  const template = new WorkerTemplate("train", "python", Uint8Array.of(1, 2, 3), 1, 0, 16, []);
  await expect(template.load({} as Client)).rejects.toThrow(/train is of the language "python".*runs "js"/);
});
