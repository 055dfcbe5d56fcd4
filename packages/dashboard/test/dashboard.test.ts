/** The dashboard in a real browser, over a made-up cluster with 10,000 actors and a million attempts. */
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { buildDashboard } from "../scripts/build.ts";
import {
  hasChromium,
  launch,
  measureAction,
  openPage,
  type Scheme,
  seriousFaults,
  type Watched,
  type Width,
} from "./browser.ts";
import { HOSTILE, HOSTILE_IMAGE, makeModel } from "./fixture-model.ts";
import { checkModel, type Fixture, startFixture } from "./fixture-server.ts";

/** Limits of time are for a machine that does nothing else; in a run of all tests, or beside other work, they are wider. */
const slack = process.env.CI !== undefined || (loadavg()[0] ?? 0) > availableParallelism() ? 6 : 1;

const nowMs = Date.now();
const model = makeModel({ nowMs });
let files = "";
beforeAll(async () => {
  files = await buildDashboard();
});

test("the made-up cluster says what the contract says", () => {
  checkModel(model);
  expect(model.actors.length).toBe(10_000);
  expect(model.taskTotal).toBe(1_000_000);
});

test("all of it is less than 150 kB compressed, and has no script or style inside its page", () => {
  const assets = join(files, "assets");
  const sizes = readdirSync(assets)
    .filter((name) => name.endsWith(".gz"))
    .map((name) => readFileSync(join(assets, name)).length);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  console.log(`compressed: ${(total / 1000).toFixed(1)} kB`);
  expect(total).toBeLessThan(150_000);
  const page = readFileSync(join(files, "index.html"), "utf8");
  expect(page).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=/);
});

describe.skipIf(!hasChromium)("in Chromium", () => {
  let browser: Browser;
  let fixture: Fixture;
  const opened: Watched[] = [];
  beforeAll(async () => {
    browser = await launch();
    fixture = await startFixture({ files, model, nowMs });
  });
  afterAll(async () => {
    await browser.close();
    await fixture.close();
  });
  afterEach(async () => {
    Object.assign(fixture.mood, { isSignedIn: true, isBroken: false, partial: [] });
    await Promise.all(opened.splice(0).map(({ context }) => context.close()));
  });

  const open = async (path = "", options: { scheme?: Scheme; width?: Width } = {}): Promise<Watched> => {
    const watched = await openPage(browser, fixture.url, options);
    opened.push(watched);
    await watched.page.goto(`${fixture.url}/#/${path}`);
    return watched;
  };

  const failed = model.tasks.find(({ state }) => state === "failed");
  const busy = model.workers.find(({ state }) => state === "busy");
  const [job, , driver] = model.jobs;
  const [log] = model.logs;
  /** A page, and what it shows when it is there. */
  const pages: readonly (readonly [path: string, shows: string])[] = [
    ["", "text=Finished a second"],
    ["jobs", "text=nightly-index"],
    [`jobs/${job?.submissionId}`, "main h2:text-is('Running now')"],
    [`jobs/${job?.submissionId}?tab=logs`, ".log-line"],
    [`jobs/${job?.submissionId}?tab=graph`, ".graph .box"],
    [`jobs/${driver?.jobId}`, "text=a driver that joined by itself"],
    ["submit", "text=Entrypoint"],
    ["nodes", "text=gpu-c1"],
    [`nodes/${model.nodes[4]?.nodeId}`, "text=NVIDIA"],
    ["workers", "tr .pill"],
    [`workers/${busy?.workerId}`, "text=CPU profile"],
    ["actors", "tr .pill"],
    ["actors?tab=classes", "text=FeatureStore"],
    [`actors/${model.actors[0]?.actorId}`, "main h2:text-is('Why')"],
    ["tasks", "tr .pill"],
    ["tasks?tab=functions", "text=331,500"],
    ["tasks?tab=graph", ".graph .box"],
    ["tasks?tab=timeline", "text=100,000 spans"],
    [`tasks/${failed?.taskId}`, "text=Where the time went"],
    ["objects", "text=embed.ts:31"],
    ["objects?tab=all", "tr .pill"],
    [`objects/${model.objects[0]?.objectId}`, "main h2:text-is('Copies')"],
    ["placement-groups", "text=trainers"],
    [`placement-groups/${model.groups[0]?.placementGroupId}`, "text=2 bundles"],
    ["logs", "text=node.log"],
    [`logs/${log?.logId}`, ".log-line"],
    ["events", ".event"],
    ["metrics", "text=Attempts a second"],
    ["find/shard", "text=Shard.upsert"],
    ["nothing", "text=There is no such page"],
  ];

  describe.each([
    ["light", "desktop"],
    ["dark", "desktop"],
    ["light", "phone"],
    ["dark", "phone"],
  ] as const)("%s, %s", (scheme, width) => {
    test("each page loads without errors, without other hosts, and axe finds no serious fault", async () => {
      const { page, problems } = await open("", { scheme, width });
      for (const [path, shows] of pages) {
        await page.goto(`${fixture.url}/#/${path}`);
        await page.locator(shows).first().waitFor();
        expect.soft(await seriousFaults(page), `axe on /${path}`).toEqual([]);
        const overflow = await page.evaluate(() => {
          const main = document.querySelector("main");
          return (
            document.documentElement.scrollWidth > innerWidth || (main !== null && main.scrollWidth > main.clientWidth)
          );
        });
        expect.soft(overflow, `/${path} is wider than the window`).toBe(false);
        expect
          .soft(problems.splice(0), `on /${path}`)
          .toEqual(path === "find/shard" ? [expect.stringContaining("404")] : []);
      }
    }, 180_000);
  });

  test("names are text, whatever is in them", async () => {
    const { page } = await open(`actors?filter=className=${encodeURIComponent(HOSTILE)}`);
    await page.locator(`tr >> text=${HOSTILE}`).first().waitFor();
    await page.goto(`${fixture.url}/#/tasks?tab=graph`);
    await page.locator(".graph .box").first().waitFor();
    await page.goto(`${fixture.url}/#/find/${encodeURIComponent(HOSTILE_IMAGE)}`);
    await page.getByRole("link", { name: HOSTILE_IMAGE }).first().waitFor();
    await page.goto(`${fixture.url}/#/objects`);
    await page.locator(`text=${HOSTILE}.ts:1`).first().waitFor();
    expect(await page.evaluate(() => "hacked" in window)).toBe(false);
    expect(await page.locator("main img, main script").count()).toBe(0);
  });

  test("everything is reached with the keyboard", async () => {
    const { page } = await open("tasks?filter=state=failed");
    await page.locator("tr .pill").first().waitFor();
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Skip to the page");
    await page.keyboard.press("Enter");
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("main");

    await page.keyboard.press("/");
    expect(await page.evaluate(() => document.activeElement?.getAttribute("aria-label"))).toBe("Find an id or a name");
    await page.keyboard.press("Escape");

    await page.locator(".table-box").focus();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    expect(await page.evaluate(() => document.activeElement?.closest("tr")?.getAttribute("data-index"))).toBe("1");
    await page.keyboard.press("Enter");
    await page.locator("text=Where the time went").waitFor();

    for (const [letter, title] of [
      ["n", "Nodes"],
      ["o", "Objects"],
      ["h", "Overview"],
    ] as const) {
      await page.keyboard.press("g");
      await page.keyboard.press(letter);
      await page.locator(`h1:text("${title}")`).waitFor();
    }
    await page.keyboard.press("?");
    expect(await page.locator("dialog[open]").textContent()).toContain("find an id or a name");
    await page.keyboard.press("Escape");
    expect(await page.locator("dialog[open]").count()).toBe(0);
  });

  test("a deep link is the same page after it is loaded again, and filters and order are decided by it", async () => {
    const { page } = await open("actors?filter=state=dead&filter=className~train&sort=-restarts&limit=1000");
    await page.locator("tr .pill").first().waitFor();
    const read = async () => page.locator("tbody tr").first().textContent();
    const before = await read();
    expect(before).toContain("Trainer");
    await page.reload();
    await page.locator("tr .pill").first().waitFor();
    expect(await read()).toBe(before);
    expect(await page.locator('th[aria-sort="descending"]').textContent()).toContain("Restarts");
    expect(await page.locator('select[aria-label="State"]').inputValue()).toBe("dead");
    expect(fixture.requests.at(-1)).toBeDefined();
  });

  test("a filter goes to the server", async () => {
    const { page } = await open("tasks");
    await page.locator("tr .pill").first().waitFor();
    fixture.requests.length = 0;
    await page.selectOption('select[aria-label="State"]', "failed");
    await page.locator('tr .pill:text("failed")').first().waitFor();
    await page.fill('input[aria-label="Name contains"]', "embed");
    await page.waitForFunction(() => location.hash.includes("name~embed"));
    await page.locator("button:text('Filter…')").click();
    await page.selectOption('select[aria-label="Field"]', "ranMs");
    await page.selectOption('select[aria-label="Comparison"]', ">");
    await page.fill('input[aria-label="Value"]', "50");
    await page.keyboard.press("Enter");
    await page.locator(".chip:text('ranMs>50')").waitFor();
    await expect
      .poll(() => fixture.requests.map(decodeURIComponent).find((path) => path.includes("ranMs>50")))
      .toBe("tasks?filter=state=failed&filter=name~embed&filter=ranMs>50&limit=200");
    expect(await page.locator("tbody tr").first().textContent()).toContain("embedBatch");
  });

  test("the head of a column sorts the whole list, on the server, and a third click gives its order back", async () => {
    const { page, problems } = await open("tasks");
    await page.locator("tr .pill").first().waitFor();
    const ran = page.getByRole("button", { name: /^Ran/ });
    const asked = () => fixture.requests.findLast((path) => path.startsWith("tasks?"));
    const order = () => page.locator("th", { has: ran }).getAttribute("aria-sort");
    const first = () => page.locator("tbody tr").first().textContent();
    // Its name, its state and its id: the rest goes on.
    const firstId = async () => (await page.locator("tbody tr").first().locator("td").allTextContents()).slice(0, 3);
    const unsorted = await firstId();
    for (const [named, query] of [
      ["descending", "tasks?limit=200&sort=-ranMs"],
      ["ascending", "tasks?limit=200&sort=ranMs"],
    ] as const) {
      await ran.click();
      await expect.poll(order).toBe(named);
      await expect.poll(asked).toBe(query);
    }
    // What was read a moment ago need not be asked for again.
    await ran.click();
    await expect.poll(order).toBeNull();
    await expect.poll(firstId).toEqual(unsorted);
    const longest = Math.max(...model.tasks.map(({ ranMs }) => ranMs ?? 0));
    await ran.click();
    const seconds = `${Math.floor(longest / 1000)} s`;
    await expect.poll(first).toContain(seconds);
    // Each head of each list names a field that its service knows.
    for (const path of ["jobs", "tasks", "actors", "objects?tab=all", "nodes", "workers", "placement-groups", "logs"]) {
      await page.goto(`${fixture.url}/#/${path}`);
      await page.locator(`table.rows tbody tr`).first().waitFor();
      for (const head of await page.locator("th button").all()) {
        const text = (await head.textContent()) ?? "";
        await head.click();
        await page.locator("th[aria-sort]").waitFor();
        expect(await page.locator("th[aria-sort]").textContent(), path).toContain(text);
      }
    }
    expect(problems).toEqual([]);
  });

  test("what happens is seen without a reload, and a lost connection comes back", async () => {
    const { page } = await open();
    const finished = page.locator(".tile:has-text('Running') .hint");
    await finished.waitFor();
    const before = await finished.textContent();
    fixture.finish(2_000_000);
    await expect.poll(() => finished.textContent(), { timeout: 5000 }).not.toBe(before);
    expect(await finished.textContent()).toContain("2.9");
    await page.locator('.live[title="Live"]').waitFor();
    await page.context().setOffline(true);
    fixture.dropStreams();
    await page.locator('.live[title="Connecting again"]').waitFor();
    await page.context().setOffline(false);
    await page.locator('.live[title="Live"]').waitFor({ timeout: 15_000 });
  });

  test("a job's page shows how far it is, by function, and it moves", async () => {
    const { page } = await open(`jobs/${job?.submissionId}`);
    const bar = page.getByRole("progressbar", { name: "All", exact: true });
    await bar.waitFor();
    const now = async () => Number(await bar.getAttribute("aria-valuenow"));
    const [before, total] = [await now(), Number(await bar.getAttribute("aria-valuemax"))];
    expect(before).toBeGreaterThan(0);
    expect(total).toBeGreaterThan(before);
    expect(await bar.getAttribute("aria-valuetext")).toMatch(/^[\d,]+ of [\d,]+ have ended, .* a second, .* left$/);
    fixture.finish(1_000);
    await expect.poll(now, { timeout: 5000 }).toBe(before + 1_000);
    expect(await page.getByRole("progressbar").count()).toBeGreaterThan(2);
    fixture.finish(-1_000);
    await page.goto(`${fixture.url}/#/`);
    await page.getByRole("progressbar", { name: "nightly-index" }).waitFor();
    await page.getByRole("link", { name: "nightly-index" }).click();
    await bar.waitFor();
  });

  test("a job's page shows the bars that its program makes, and they move; a bar without a total is a count", async () => {
    const { page } = await open(`jobs/${job?.submissionId}`);
    const bar = page.getByRole("progressbar", { name: "embedding pages" });
    await bar.waitFor();
    expect(await bar.getAttribute("aria-valuenow")).toBe("4200");
    expect(await bar.getAttribute("aria-valuemax")).toBe("12000");
    expect(await bar.getAttribute("aria-valuetext")).toBe("4,200 of 12,000, 50 a second, about 2 m 36 s left");
    fixture.finish(1_000);
    await expect.poll(() => bar.getAttribute("aria-valuenow"), { timeout: 5000 }).toBe("5200");
    fixture.finish(-1_000);
    await page.locator(".progress", { hasText: "rows read" }).locator("text=1.25 M done").waitFor();
    expect(await page.getByRole("progressbar", { name: "rows read" }).count()).toBe(0);
    await page.locator(".progress >> text=<script>window.hacked=1</script> a long label").waitFor();
  });

  test("of each GPU of a node: how it is used, who holds it, and who is on it", async () => {
    const { page } = await open("nodes");
    await page.locator("text=gpu-c1").click();
    const card = page.locator(".card", { hasText: "Who holds it" });
    await card.waitFor();
    const rows = await card.locator("tbody tr").allTextContents();
    expect(rows).toHaveLength(4);
    expect(rows[0]).toMatch(
      /NVIDIA A100-SXM4-80GB.*Busy.*\d %.*GiB of 80 GiB.*58 °C, 312 W of 400 W.*embed.*pid 31000/s,
    );
    expect(rows[1]).toMatch(/Trainer/);
    expect(rows[3]).toMatch(/nobody.*jupyter-lab \(9120\).*not Mobula's/s);
    await page.goto(`${fixture.url}/#/`);
    const meters = page.locator(".card", { hasText: "Utilisation" });
    await meters.locator("text=GPUs busy").waitFor();
    expect(await meters.textContent()).toMatch(/GPUs busy58.*Memory of GPUs348 GiB of 640 GiB/s);
  });

  test("nothing is asked while nobody looks", async () => {
    const { page } = await open("nodes");
    await page.locator("text=gpu-c1").waitFor();
    await page.evaluate(() => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await page.locator('.live[title="Paused"]').waitFor();
    fixture.requests.length = 0;
    // Twice as long as the shortest wait between two questions.
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 4000)));
    expect(fixture.requests).toEqual([]);
    await page.evaluate(() => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => false });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await page.locator('.live[title="Live"]').waitFor();
    expect(fixture.requests.some((path) => path.startsWith("nodes"))).toBe(true);
  });

  test("10,000 rows are a few in the page, and what is done with them takes at most 100 ms", async () => {
    const { page } = await open("actors?limit=10000");
    await page.locator("text=10,000 actors").waitFor();
    expect(await page.locator("tbody tr").count()).toBeLessThan(60);
    expect(await page.locator("table.rows").getAttribute("aria-rowcount")).toBe("10001");
    const times: Record<string, number> = {};
    const sorts: number[] = [];
    for (const column of [4, 1, 6, 9, 2])
      sorts.push(await measureAction(page, `th:nth-child(${column}) button`, "click"));
    times.sort = sorts.sort((a, b) => a - b)[2] ?? 0;
    times.scroll = await page.evaluate(async () => {
      const box = document.querySelector(".table-box");
      const fromMs = performance.now();
      box?.scrollTo(0, 5000 * 32);
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      return performance.now() - fromMs;
    });
    await page.locator('tr[data-index="5005"]').waitFor();
    times["another page"] = await measureAction(page, '.nav a[href="#/nodes"]', "click");
    console.log(
      "interaction, ms:",
      Object.entries(times)
        .map(([name, ms]) => `${name} ${ms.toFixed(0)}`)
        .join(", "),
    );
    for (const ms of Object.values(times)) expect(ms).toBeLessThan(100 * slack);
  });

  test("the first paint comes within a second", async () => {
    const paints: number[] = [];
    for (const path of ["", "actors", "tasks"]) {
      const { page, context } = await open(path);
      await page.locator("h1").first().waitFor();
      const ms = await page.evaluate(
        () =>
          new Promise<number>((resolve) => {
            new PerformanceObserver((list) => {
              for (const { name, startTime } of list.getEntries())
                if (name === "first-contentful-paint") resolve(startTime);
            }).observe({ type: "paint", buffered: true });
          }),
      );
      paints.push(ms);
      await context.close();
    }
    console.log("first contentful paint, ms:", paints.map((ms) => ms.toFixed(0)).join(", "));
    for (const ms of paints) expect(ms).toBeLessThan(1000 * slack);
  });

  test("a timeline of 100,000 spans moves smoothly, by drag, wheel and keys", async () => {
    const { page } = await open("tasks?tab=timeline");
    await page.locator("text=100,000 spans in 65 lanes: all").waitFor({ timeout: 15_000 });
    const box = await page.locator(".timeline").boundingBox();
    if (box === null) throw new Error("no timeline");
    const frames = () =>
      page.evaluate(() => {
        const times: number[] = [];
        const state = window as unknown as { frameTimes: number[]; isCounting: boolean };
        state.frameTimes = times;
        state.isCounting = true;
        let lastMs = performance.now();
        const tick = (nowMs: number) => {
          times.push(nowMs - lastMs);
          lastMs = nowMs;
          if (state.isCounting) requestAnimationFrame(tick);
        };
        requestAnimationFrame(tick);
      });
    const p95 = () =>
      page.evaluate(() => {
        const state = window as unknown as { frameTimes: number[]; isCounting: boolean };
        state.isCounting = false;
        const sorted = state.frameTimes.slice(2).sort((a, b) => a - b);
        return { p95: sorted[Math.floor(sorted.length * 0.95)] ?? 0, frames: sorted.length };
      });
    const results: string[] = [];
    const middle = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    const measure = async (name: string, act: (step: number) => Promise<void>) => {
      await frames();
      for (let step = 0; step < 60; step++) {
        await act(step);
        await page.evaluate(() => new Promise(requestAnimationFrame));
      }
      const { p95: ms, frames: drawn } = await p95();
      results.push(`${name} ${ms.toFixed(1)} (${drawn} frames)`);
      expect(ms).toBeLessThan(50 * slack);
    };
    await page.mouse.move(middle.x, middle.y);
    await page.mouse.down();
    await measure("drag", (step) =>
      page.mouse.move(middle.x + Math.sin(step / 6) * 300, middle.y + Math.cos(step / 9) * 120),
    );
    await page.mouse.up();
    await page.keyboard.down("Control");
    await measure("zoom", (step) => page.mouse.wheel(0, step < 30 ? -60 : 60));
    await page.keyboard.up("Control");
    await page.locator('[role="application"]').focus();
    await measure("keys", (step) => page.keyboard.press(step % 20 < 10 ? "ArrowRight" : "ArrowLeft"));
    console.log("timeline, p95 of frames in ms:", results.join(", "));

    await page.keyboard.press("0");
    await page.keyboard.press(".");
    await page.locator("a:text('Open the task')").waitFor();
    await page.locator(".timeline + div >> text=/^submitted by (driver|worker) /").waitFor();
    expect(fixture.requests.filter((path) => path.startsWith("timeline"))).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^timeline\?attempts=50000&job=[0-9a-f]{8}$/),
        expect.stringMatching(/^timeline\?attempts=50000&job=[0-9a-f]{8}&cursor=1$/),
      ]),
    );
    await page.waitForFunction(() => location.hash.includes("t="));
  });

  test("a stack and a profile of a worker come by one click", async () => {
    const { page } = await open(`workers/${busy?.workerId}`);
    await page.locator("button:text('Stack')").click();
    await page.locator("text=at normalise").waitFor();
    const download = page.waitForEvent("download");
    await page.locator("button:text('CPU profile')").click();
    expect((await download).suggestedFilename()).toBe(`mobula-${busy?.pid}.cpuprofile`);
    expect(fixture.posted.slice(-2)).toEqual([
      { path: "POST stack", body: { nodeId: busy?.nodeId, pid: busy?.pid } },
      { path: "POST profile", body: { nodeId: busy?.nodeId, pid: busy?.pid, kind: "cpu", seconds: 5 } },
    ]);
    const whole = page.waitForEvent("download");
    await page.locator("button:text('Heap snapshot')").click();
    expect((await whole).suggestedFilename()).toBe(`mobula-${busy?.pid}.heapsnapshot`);
    expect(fixture.posted.at(-1)?.body).toEqual({ nodeId: busy?.nodeId, pid: busy?.pid, kind: "snapshot" });
  });

  test("a job is submitted, refused with the reason, stopped and deleted", async () => {
    const { page } = await open("submit");
    await page.fill('textarea[name="entrypoint"]', "refuse");
    await page.locator("button:text('Submit')").click();
    await page.locator("text=refuse is no program").waitFor();
    await page.fill('textarea[name="entrypoint"]', "node app.ts");
    await page.fill('input[name="submissionId"]', "made-by-test");
    await page.fill('input[name="cpus"]', "2");
    await page.fill('textarea[name="env"]', "A=1\nB=x=y");
    await page.locator("button:text('Submit')").click();
    await page.locator(".log-line").first().waitFor();
    expect(fixture.posted.at(-1)).toEqual({
      path: "POST jobs",
      body: {
        entrypoint: "node app.ts",
        submissionId: "made-by-test",
        runtimeEnv: { env: { A: "1", B: "x=y" } },
        resources: { cpu: 2 },
      },
    });
    await page.locator("button:text('Stop…')").click();
    await page.locator("button:text('Stop it')").click();
    await page.locator("button:text('Delete…')").click();
    await page.locator("button:text('Delete it')").click();
    await page.locator("h1:text('Jobs')").waitFor();
    expect(fixture.posted.slice(-2).map(({ path }) => path)).toEqual([
      "POST jobs/made-by-test/stop",
      "DELETE jobs/made-by-test",
    ]);
  });

  test("a log follows what is printed, and is searched on the server", async () => {
    const { page } = await open(`logs/${log?.logId}`);
    const lines = page.locator(".total");
    await page.locator(".log-line").first().waitFor();
    const before = await lines.textContent();
    await expect.poll(() => lines.textContent()).not.toBe(before);
    expect(await page.locator(".log-line").count()).toBeLessThan(150);
    await page.fill('input[aria-label="Lines that contain"]', "ECONN");
    await page.locator("text=No line contains that").waitFor();
    await page.fill('input[aria-label="Lines that contain"]', "embedBatch failed");
    await page.locator("mark").first().waitFor();
    expect(fixture.requests.map(decodeURIComponent).some((path) => path.includes("search=embedBatch+failed"))).toBe(
      true,
    );
  });

  test("an id leads to its page, from the search field", async () => {
    const { page } = await open();
    await page.locator("text=Finished a second").waitFor();
    const actor = model.actors[42];
    await page.keyboard.press("/");
    await page.keyboard.type(actor?.actorId ?? "");
    await page.keyboard.press("Enter");
    await page.waitForFunction((id) => location.hash === `#/actors/${id}`, actor?.actorId);
    await page.locator("main h2:text-is('Why')").waitFor();
  });

  test("who may not look is told how, and goes on when let in", async () => {
    fixture.mood.isSignedIn = false;
    const { page } = await open("nodes");
    await page.locator("text=mobula dashboard").waitFor();
    expect(await seriousFaults(page)).toEqual([]);
    fixture.mood.isSignedIn = true;
    await page.locator("text=gpu-c1").waitFor({ timeout: 15_000 });
  });

  test("what could not be asked stays, with a word; a part of an answer is called one", async () => {
    fixture.mood.partial = ["node cpu-b1 did not answer within 500 ms"];
    const { page } = await open("workers");
    await page.locator("text=Not everything is here.").waitFor();
    fixture.mood.isBroken = true;
    await page.locator("text=This is not fresh.").waitFor();
    expect(await page.locator("tbody tr").count()).toBeGreaterThan(10);
    fixture.mood.isBroken = false;
    await page.locator("button:text('Try now')").click();
    await expect.poll(() => page.locator("text=This is not fresh.").count()).toBe(0);
  });

  test("the colours are chosen, and stay", async () => {
    const { page } = await open();
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await background();
    await page.locator("button[aria-label^='Colours']").click();
    await page.locator("button[aria-label^='Colours: light']").click();
    expect(await background()).not.toBe(light);
    await page.reload();
    await page.locator("text=Finished a second").waitFor();
    expect(await background()).not.toBe(light);
  });
});
