/**
 * Takes the pictures of docs/dashboard: each page over the made-up cluster, wide in light colours and as on a phone in dark ones.
 * `npm run pictures --workspace packages/dashboard`, or of some pages only: `npm run pictures --workspace packages/dashboard -- overview job`
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { launch, openPage } from "../test/browser.ts";
import { makeModel } from "../test/fixture-model.ts";
import { startFixture } from "../test/fixture-server.ts";
import { buildDashboard } from "./build.ts";

const folder = join(import.meta.dirname, "../../../docs/dashboard");
const QUALITY = 82;

const nowMs = Date.now();
const model = makeModel({ nowMs, isTame: true });
const failed = model.tasks.find(({ state }) => state === "failed");
const busy = model.workers.find(({ state }) => state === "busy");
const [job] = model.jobs;
const stack = async (page: Page): Promise<void> => {
  await page.locator("button:text('Stack')").click();
  await page.locator("text=at normalise").waitFor();
};
interface Picture {
  readonly name: string;
  readonly path: string;
  readonly shows: string;
  before?(page: Page): Promise<void>;
}
const pictures: readonly Picture[] = [
  { name: "overview", path: "", shows: "text=Finished a second" },
  { name: "jobs", path: "jobs", shows: "tr .pill" },
  { name: "job", path: `jobs/${job?.submissionId}`, shows: "main h2:text-is('Running now')" },
  { name: "job-output", path: `jobs/${job?.submissionId}?tab=logs`, shows: ".log-line" },
  { name: "submit", path: "submit", shows: "text=Entrypoint" },
  { name: "tasks", path: "tasks", shows: "tr .pill" },
  { name: "functions", path: "tasks?tab=functions", shows: "text=331,500" },
  { name: "graph", path: "tasks?tab=graph", shows: ".graph .box" },
  { name: "timeline", path: "tasks?tab=timeline", shows: "text=100,000 spans" },
  { name: "timeline-near", path: "tasks?tab=timeline&t=2000,2300,0", shows: "text=100,000 spans" },
  { name: "task", path: `tasks/${failed?.taskId}`, shows: "text=Where the time went" },
  { name: "actors", path: "actors", shows: "tr .pill" },
  { name: "actor", path: `actors/${model.actors[0]?.actorId}`, shows: "main h2:text-is('Why')" },
  { name: "objects", path: "objects", shows: "text=embed.ts:31" },
  { name: "object", path: `objects/${model.objects[0]?.objectId}`, shows: "main h2:text-is('Copies')" },
  { name: "nodes", path: "nodes", shows: "text=gpu-c1" },
  { name: "node", path: `nodes/${model.nodes[4]?.nodeId}`, shows: "text=NVIDIA" },
  { name: "workers", path: "workers", shows: "tr .pill" },
  { name: "worker", path: `workers/${busy?.workerId}`, shows: "text=CPU profile", before: stack },
  { name: "placement-groups", path: "placement-groups", shows: "text=trainers" },
  { name: "placement-group", path: `placement-groups/${model.groups[0]?.placementGroupId}`, shows: "text=2 bundles" },
  { name: "metrics", path: "metrics", shows: ".charts .uplot" },
  { name: "logs", path: "logs", shows: "text=node.log" },
  { name: "log", path: `logs/${model.logs[0]?.logId}`, shows: ".log-line" },
  { name: "events", path: "events", shows: ".event" },
  { name: "find", path: "find/shard", shows: "text=Shard.upsert" },
];

const fixture = await startFixture({ files: await buildDashboard(), model, nowMs });
const browser = await launch();
const names = process.argv.slice(2);
const unknown = names.find((name) => !pictures.some((picture) => picture.name === name));
if (unknown !== undefined) throw new Error(`there is no picture "${unknown}"`);
if (names.length === 0) rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
for (const [width, scheme] of [
  ["desktop", "light"],
  ["phone", "dark"],
] as const) {
  const { page, context } = await openPage(browser, fixture.url, { width, scheme });
  const devtools = await context.newCDPSession(page);
  for (const { name, path, shows, before } of pictures.filter(
    (picture) => names.length === 0 || names.includes(picture.name),
  )) {
    await page.goto(`${fixture.url}/#/${path}`);
    await page.locator(shows).first().waitFor();
    await before?.(page);
    // Charts and answers that are on their way.
    await page.evaluate((ms) => new Promise((resolve) => setTimeout(resolve, ms)), 900);
    const { data } = await devtools.send("Page.captureScreenshot", { format: "webp", quality: QUALITY });
    writeFileSync(join(folder, `${name}-${width}.webp`), Buffer.from(data, "base64"));
  }
  await context.close();
}
await browser.close();
await fixture.close();
