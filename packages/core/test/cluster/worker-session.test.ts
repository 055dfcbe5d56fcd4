/** A worker that is made of a listener, behind a proxy that cuts. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, expect, test, vi } from "vitest";
import { newNodeId, newProcessId, type WorkerId } from "../../src/base/ids.ts";
import { WorkerSession } from "../../src/owner/worker-session.ts";
import { parseAddress } from "../../src/transport/address.ts";
import { Access, listenPeers, type Peer, type ResumablePeer } from "../../src/transport/mod.ts";
import { TestProxy } from "../../src/transport/test-proxy.ts";

const TOKEN = "0123456789abcdef";
const folder = mkdtempSync("/tmp/mw-");
const tokenFile = join(folder, "token");
writeFileSync(tokenFile, TOKEN);
afterAll(() => rmSync(folder, { recursive: true }));
const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function setUp({ tokens = () => [TOKEN] }: { tokens?: () => string[] } = {}) {
  const atWorker: ResumablePeer[] = [];
  const news: string[] = [];
  const listener = await listenPeers({
    host: "127.0.0.1",
    port: 0,
    tokens,
    accept: (peer) => {
      atWorker.push(peer);
      return {
        handlers: { onMessage: (message) => peer.send(message), onClose: () => void news.push("worker: closed") },
      };
    },
  });
  const proxy = await TestProxy.to(parseAddress(listener.address));
  ends.push(
    () => listener.close(),
    () => proxy.close(),
  );
  const worker = {
    workerId: "w" as WorkerId,
    processId: newProcessId(),
    nodeId: newNodeId(),
    pid: 1,
    address: "/w",
    tcp: proxy.address,
  };
  const session = new WorkerSession({
    worker,
    access: Access.open({ tokenFile }, () => {}),
    owner: newProcessId(),
    handlers: {
      onMessage: (message) => void news.push(message.t),
      onClose: () => void news.push("owner: closed"),
    },
    onFailure: ({ message }) => void news.push(`failure: ${message}`),
    onAbandoned: () => void news.push("abandoned"),
  });
  ends.push(() => session.close());
  return { session, proxy, news, atWorker, processId: worker.processId };
}

const says = (news: readonly string[], what: string): Promise<void> =>
  vi.waitFor(() => expect(news).toContain(what), { timeout: 5_000 });

async function echo(peer: Peer, news: readonly string[], t: string): Promise<void> {
  peer.send({ t });
  await says(news, t);
}

test("what is said while the connection is cut arrives", async () => {
  const { session, proxy, news } = await setUp();
  const peer = await session.open();
  await echo(peer, news, "before");
  proxy.cut();
  await echo(peer, news, "after");
  expect(news).toEqual(["before", "after"]);
});

test("it ends when its worker is gone, and nobody is told to end that", async () => {
  const { session, proxy, news, processId } = await setUp();
  const peer = await session.open();
  proxy.plan = () => "refuse";
  session.workerGone({ t: "process-gone", processId, isLost: false });
  await echo(peer, news, "last words");
  proxy.cut();
  await says(news, "owner: closed");
  expect(news).toEqual(["last words", "owner: closed"]);
});

test("it ends at once when the node of its worker is gone", async () => {
  const { session, news, processId } = await setUp();
  await session.open();
  session.workerGone({ t: "process-gone", processId, isLost: true });
  await says(news, "owner: closed");
  expect(news).not.toContain("abandoned");
});

test("a worker that is gone before it was reached is looked for no more", async () => {
  const { session, proxy, processId } = await setUp();
  proxy.plan = () => "refuse";
  const opened = session.open();
  session.workerGone({ t: "process-gone", processId, isLost: false });
  await expect(opened).rejects.toThrow();
});

test("one that the worker has ended is abandoned: what became of its tasks is not known", async () => {
  const { session, news, atWorker } = await setUp();
  await session.open();
  atWorker[0]?.destroy(new Error("too much is kept"));
  await says(news, "owner: closed");
  expect(news).toContain("abandoned");
});

test("a worker that refuses is tried again, and says why it was not reached", async () => {
  const valid: string[] = [];
  const { session, news } = await setUp({ tokens: () => valid });
  const opened = session.open();
  await vi.waitFor(() => expect(news.join()).toMatch(/failure: the token is wrong/));
  valid.push(TOKEN);
  await echo(await opened, news, "at last");
});

test("an owner that ends says goodbye, with what it had written", async () => {
  const { session, news, atWorker } = await setUp();
  const peer = await session.open();
  const heard: string[] = [];
  const [there] = atWorker;
  if (there) there.handlers.onMessage = ({ t }) => void heard.push(t);
  peer.send({ t: "last" });
  session.close();
  await says(news, "worker: closed");
  expect(heard).toEqual(["last"]);
  expect(news).not.toContain("abandoned");
});
