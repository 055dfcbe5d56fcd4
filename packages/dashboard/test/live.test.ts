/** The dashboard in a real browser, over a program that runs: work, failures, deaths, and what it prints. */
import { type ActorHandle, get, init, type ObjectRef, progressBar, remote, shutdown } from "mobula";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildDashboard } from "../scripts/build.ts";
import { hasChromium, launch, openPage, type Watched } from "./browser.ts";

class Counter {
  n = 0;
  add(): number {
    this.n++;
    console.log(`counted to ${this.n}`);
    return this.n;
  }
  die(): never {
    process.kill(process.pid, "SIGKILL");
    throw new Error("unreachable");
  }
}
const square = remote(function square(x: number) {
  return x * x;
});
const sumOfSquares = remote(async function sumOfSquares(n: number) {
  const squares = await get(Array.from({ length: n }, (_, x) => square.remote(x)));
  return squares.reduce((sum, x) => sum + x, 0);
});
const fails = remote(function fails(x: number): number {
  throw new RangeError(`<b>${x}</b> is too much`);
});
const needsMuch = remote(
  function needsMuch() {
    return 1;
  },
  { numCpus: 64 },
);

describe.skipIf(!hasChromium)("in Chromium, over a program that runs", () => {
  let browser: Browser;
  let watched: Watched;
  let origin = "";
  let jobId = "";
  /** Held, so that their ends are explained. */
  const refs: ObjectRef<number>[] = [];
  let counter: ActorHandle<Counter>;

  beforeAll(async () => {
    await buildDashboard();
    const context = await init({ resources: { cpu: 2 } });
    jobId = context.jobId;
    counter = remote(Counter, { name: "visits", numCpus: 0 }).remote();
    const link = context.dashboardUrl ?? "";
    ({ origin } = new URL(link));
    await get(sumOfSquares.remote(20));
    await get(Array.from({ length: 5 }, () => counter.add.remote()));
    refs.push(fails.remote(7), needsMuch.remote());
    await Promise.allSettled(refs.map((ref) => get(ref)));
    browser = await launch();
    watched = await openPage(browser, origin);
    await watched.page.goto(link);
  });
  afterAll(async () => {
    await browser.close();
    await shutdown();
  });

  const go = (path: string) => watched.page.goto(`${origin}/#/${path}`);
  const sees = (text: string) => watched.page.locator(`main >> text=${text}`).first().waitFor({ timeout: 40_000 });

  test("the link lets in, and the overview counts", async () => {
    const { page } = watched;
    await page.locator(".live[title='Live']").waitFor();
    await expect
      .poll(() => page.locator(".tile:has-text('Running') .hint").textContent(), { timeout: 40_000 })
      .not.toBe("0 finished");
    await expect.poll(() => page.locator(".tile:has-text('Failed or lost') .value").textContent()).not.toBe("0");
    expect(await page.locator(".tile:has-text('Actors alive') .value").textContent()).toBe("1");
  });

  test("a failed task says what was thrown, as text, and why", async () => {
    const { page } = watched;
    await go("tasks?filter=name=fails");
    await page.locator("tr .pill:text('failed')").waitFor();
    await page.locator(".row-link").first().click();
    await sees("<b>7</b> is too much");
    await sees("It failed");
  });

  test("the graph of the job shows who called whom", async () => {
    await go(`jobs/${jobId}?tab=graph`);
    await watched.page.locator(".graph text:text('sumOfSquares')").waitFor();
    await watched.page.locator(".graph path.edge").first().waitFor({ state: "attached" });
  });

  test("a bar that the program makes moves on the page of its job", async () => {
    await go(`jobs/${jobId}`);
    using bar = progressBar(8, "packing");
    bar.add(3);
    const shown = watched.page.getByRole("progressbar", { name: "packing" });
    await expect.poll(() => shown.getAttribute("aria-valuenow"), { timeout: 40_000 }).toBe("3");
    expect(await shown.getAttribute("aria-valuemax")).toBe("8");
    bar.add(2);
    await expect.poll(() => shown.getAttribute("aria-valuenow"), { timeout: 40_000 }).toBe("5");
  });

  test("what an actor prints is in its log, and more of it comes", async () => {
    const { page } = watched;
    await go("actors");
    await page.locator(".row-link:text('Counter')").click();
    await page.locator("main .actions a:text('Log')").click();
    await sees("counted to 5");
    await get(counter.add.remote());
    await sees("counted to 6");
  });

  test("an actor that is killed dies before the reader's eyes, with the cause", async () => {
    const { page } = watched;
    await go("actors?filter=name=visits");
    await page.locator("tr .pill:text('alive')").waitFor();
    await get(counter.die.remote()).catch(() => undefined);
    await page.locator("tr .pill.bad:text('dead')").waitFor({ timeout: 40_000 });
    await page.locator(".row-link:text('Counter')").click();
    await sees("Cause of death:");
    await sees("SIGKILL");
  });

  test("nodes, workers and the job are there, without an error on the console", async () => {
    const { page, problems } = watched;
    for (const path of ["nodes", "workers", "jobs"]) {
      await go(path);
      await page.locator("tr .pill").first().waitFor();
    }
    // What has no explanation is answered with 404, which the browser writes down.
    expect(problems.filter((problem) => !/status of 40[04]/.test(problem))).toEqual([]);
  });
});
