/** Who ended what: of programs and tools, on a real cluster, as events say it. */
import { execFile } from "node:child_process";
import { hostname, userInfo } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ActorHandle, get, kill, placementGroup, remote, runtimeContext } from "../../src/api/mod.ts";
import type { Listed, Row } from "../../src/state/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
const user = userInfo().username;
let cluster: LocalCluster;
beforeAll(async () => {
  const node = (name: string) => ({ name, resources: { cpu: 4 } });
  cluster = await LocalCluster.start({ nodes: [node("one"), node("two")], dashboard: true });
  await cluster.connect();
});
afterAll(() => cluster.stop());

class Resting {
  id(): string {
    return runtimeContext().actorId ?? "";
  }
}
const Rests = remote(Resting);

/** Another who ends it, in a worker: a task, and a call. */
const ends = remote(async function ends(victim: ActorHandle<Resting>): Promise<string> {
  await kill(victim);
  return runtimeContext().taskId ?? "";
});
const Ending = remote(
  class Ending {
    async end(victim: ActorHandle<Resting>): Promise<string> {
      await kill(victim);
      return runtimeContext().actorId ?? "";
    }
  },
);

async function eventOf(filter: string): Promise<Row<"events">> {
  const headers = { authorization: `Bearer ${cluster.token}` };
  return eventually(async () => {
    const response = await fetch(`${cluster.dashboardUrl}/api/v1/events?filter=${encodeURIComponent(filter)}`, {
      headers,
    });
    return ((await response.json()) as Listed<Row<"events">>).rows[0];
  }, `an event with ${filter}`) as Promise<Row<"events">>;
}

test("a kill names the driver, its job, its machine and its user; and so does the event of the death", async () => {
  const victim = Rests.remote();
  const actorId = await get(victim.id.remote());
  const { jobId } = runtimeContext();
  await kill(victim);
  const by = `driver ${process.pid} on ${hostname()}, of job ${jobId}, user ${user}`;
  expect(await eventOf(`message~killed actor ${actorId}`)).toMatchObject({
    kind: "actor-kill",
    message: `${by} killed actor ${actorId}`,
    by,
    subjects: [actorId, jobId],
  });
  const death = await eventOf(`message~(${actorId}) was killed`);
  expect(death).toMatchObject({ kind: "actor-killed", by });
});

test("a kill by a task and by a call names those, and the worker", async () => {
  const [first, second] = [Rests.remote(), Rests.remote()];
  const ids = await Promise.all([get(first.id.remote()), get(second.id.remote())]);
  const taskId = await get(ends.remote(first));
  const killer = Ending.remote();
  const killerId = await get(killer.end.remote(second));
  const ofTask = await eventOf(`message~killed actor ${ids[0]}`);
  expect(ofTask.by).toMatch(
    new RegExp(`^task ends \\(${taskId}\\) in worker \\d+ on .+, of job [0-9a-f]{8}, user ${user}$`),
  );
  expect(ofTask.subjects).toContain(taskId);
  const ofCall = await eventOf(`message~killed actor ${ids[1]}`);
  expect(ofCall.by).toMatch(/^call Ending\.end \([0-9a-f]{48}\) in worker \d+ on /);
  expect(ofCall.subjects).toContain(killerId);
});

test("a group that is removed, once however often that is asked for; and what a tool does, at a node or at the head", async () => {
  const group = placementGroup([{ cpu: 1 }]);
  await group.wait(10_000);
  await group.remove();
  const removal = await eventOf(`message~removed placement group ${group.id}`);
  expect(removal).toMatchObject({ kind: "group-removal", by: expect.stringMatching(`^driver ${process.pid} on `) });
  const env = { ...process.env, ...cluster.env };
  const mobula = (...args: string[]) => promisify(execFile)(process.execPath, [cli, ...args], { env });
  const { jobId } = runtimeContext();
  await mobula("quota", jobId, "cpu=3", "--address", cluster.address);
  const by = new RegExp(`^mobula quota \\(pid \\d+\\) on ${hostname()}, user ${user}$`);
  expect(await eventOf("kind=quota-set")).toMatchObject({ by: expect.stringMatching(by), subjects: [jobId] });
  const { stdout } = await mobula(
    "list",
    "events",
    "--filter",
    "kind=quota-set",
    "--address",
    cluster.dashboardUrl ?? "",
  );
  expect(stdout).toContain("mobula quota");
});
