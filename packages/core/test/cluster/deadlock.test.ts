/** Actors on two nodes that wait for each other, by calls and by refs, whatever happens to control and to the ways between them. */
import { existsSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ActorHandle, explain, get, type ObjectRef, remote } from "../../src/api/mod.ts";
import { type ClusterNode, LocalCluster } from "../../src/testing/mod.ts";
import { Mailbox, Reader } from "../actors/classes.ts";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";

let cluster: LocalCluster;
beforeAll(async () => {
  const spec = (name: string) => ({ name, resources: { cpu: 1, [name]: 1 }, objectStoreBytes: 16 * 2 ** 20 });
  cluster = await LocalCluster.start({ nodes: ["one", "two"].map(spec) });
  await cluster.connect();
});
afterAll(() => cluster.stop());

const node = (index: number): ClusterNode => {
  const found = cluster.nodes[index];
  if (!found) throw new Error(`there is no node ${index}`);
  return found;
};

class Caller {
  private other: ActorHandle<Caller> | undefined;

  meet(boxed: { readonly other: ActorHandle<Caller> }): void {
    this.other = boxed.other;
  }
  async ask(depth: number): Promise<string> {
    if (depth === 0 || !this.other) return "answered";
    return get(this.other.ask.remote(depth - 1));
  }
  /** Ends, or goes on to ask the other, when the file is there. */
  async when(file: string, isToAsk: boolean): Promise<string> {
    const { existsSync, writeFileSync } = await import("node:fs");
    writeFileSync(`${file}-begun`, "");
    while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 10));
    return isToAsk ? this.ask(1) : "answered";
  }
  async askOtherWhen(file: string, isToAsk: boolean): Promise<string> {
    if (!this.other) return "alone";
    return get(this.other.when.remote(file, isToAsk));
  }
}

async function pair() {
  const [a, b] = ["one", "two"].map((name) => remote(Caller, { resources: { [name]: 0.1 } }).remote());
  if (!a || !b) throw new Error("two were made");
  await get([a.meet.remote({ other: b }), b.meet.remote({ other: a })]);
  return [a, b] as const;
}

/** Of the error, or of what caused it. */
async function codesOf(ref: ObjectRef<unknown>): Promise<readonly string[]> {
  const codes: string[] = [];
  const thrown: unknown = await get(ref).then(
    () => undefined,
    (error: unknown) => error,
  );
  for (let error = thrown; error instanceof Error; error = error.cause)
    codes.push((error as { code?: string }).code ?? "");
  return codes;
}
const waitIsKnown = (actor: ActorHandle<Caller>) =>
  eventually(
    async () => (await explain(actor)).sentences.some((sentence) => /Caller\.\w+ waits for/.test(sentence)),
    "control has heard of the wait",
  );

test("a cycle of calls over nodes is an error, and all go on", async () => {
  const [a, b] = await pair();
  expect(await codesOf(a.ask.remote(2))).toContain("DEADLOCK");
  expect(await get([a.ask.remote(0), b.ask.remote(0)])).toEqual(["answered", "answered"]);
});

test("so is one by way of a ref of another node, which a call would make that is queued behind its reader", async () => {
  const mailbox = remote(Mailbox, { resources: { two: 0.1 }, maxConcurrency: 2 }).remote();
  const reader = remote(Reader, { resources: { one: 0.1 } }).remote();
  const read = reader.read.remote({ from: mailbox });
  const reply = reader.reply.remote();
  await get(mailbox.send.remote([reply]));
  expect(await get(read)).toBe("DeadlockError");
  expect(await get(reply)).toBe("a reply");
});

test("or a task of another node that waits for such a call", async () => {
  const mailbox = remote(Mailbox, { resources: { two: 0.1 }, maxConcurrency: 2 }).remote();
  const reader = remote(Reader, { resources: { one: 0.1 } }).remote();
  const read = reader.read.remote({ from: mailbox });
  const reply = remote((text: string) => text).remote(reader.reply.remote());
  await get(mailbox.send.remote([reply]));
  expect(await get(read)).toBe("DeadlockError");
  expect(await get(reply)).toBe("a reply");
});

test("and one that began before control was killed is seen by the next", async () => {
  const [a, b] = await pair();
  const file = `${newFolder()}/go`;
  const asked = a.askOtherWhen.remote(file, true);
  await waitIsKnown(a);
  await cluster.killHead();
  writeFileSync(file, "");
  await cluster.restartHead();
  expect(await codesOf(asked)).toContain("DEADLOCK");
  expect(await get([a.ask.remote(0), b.ask.remote(0)])).toEqual(["answered", "answered"]);
});

test("an answer that is held up on its way makes none", async () => {
  const [a, b] = await pair();
  const [first, second] = [`${newFolder()}/go`, `${newFolder()}/go`];
  const asked = a.askOtherWhen.remote(first, false);
  await waitIsKnown(a);
  cluster.partition([node(0)], [node(1)]);
  writeFileSync(first, "");
  // It has ended the call of a, which does not hear of that, and waits for a itself.
  const next = b.when.remote(second, true);
  await eventually(() => existsSync(`${second}-begun`), "the next call has begun");
  writeFileSync(second, "");
  await waitIsKnown(b);
  cluster.heal();
  expect(await get([asked, next])).toEqual(["answered", "answered"]);
});
