/** A program with a node of its own has the dashboard and the API, but takes no jobs: they would end with it. */
import { afterEach, expect, test } from "vitest";
import { init, isInitialized, shutdown } from "../../src/api/mod.ts";

afterEach(async () => {
  if (isInitialized()) await shutdown();
});

test("a job that is submitted to a program is refused at once, by each interface, and says where to", async () => {
  const { dashboardUrl = "" } = await init({ resources: { cpu: 1 } });
  const entered = await fetch(dashboardUrl, { redirect: "manual" });
  const [cookie = ""] = (entered.headers.get("set-cookie") ?? "").split(";");
  const [url, headers] = [new URL(dashboardUrl).origin, { cookie }];
  const post = (path: string) =>
    fetch(`${url}${path}`, {
      method: "POST",
      headers: { ...headers, origin: url, "content-type": "application/json" },
      body: JSON.stringify({ entrypoint: "true", submissionId: "mine", submission_id: "mine" }),
    });
  const words = /this node ends with its program: start one with `mobula start`, and submit there/;
  const ours = await post("/api/v1/jobs");
  expect(ours.status).toBe(400);
  expect(await ours.json()).toMatchObject({ error: { code: "INVALID_OPTION", message: expect.stringMatching(words) } });
  const rays = await post("/api/jobs/");
  expect(rays.status).toBe(400);
  expect(await rays.text()).toMatch(words);
  // Nothing is left of it that would wait for ever.
  const listed = await fetch(`${url}/api/v1/jobs?filter=kind=submission`, { headers });
  expect(await listed.json()).toMatchObject({ rows: [], total: 0 });
});
