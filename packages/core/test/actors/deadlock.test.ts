import { get, init, remote, shutdown } from "mobula";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Caller, Mailbox, Reader } from "./classes.ts";

const DEADLOCK_MS = 2_000;

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 4 } });
});
afterAll(() => shutdown());

async function pair(options: object = {}) {
  const type = remote(Caller, options);
  const [a, b] = [type.remote(), type.remote()] as const;
  await get([a.meet.remote({ other: b }), b.meet.remote({ other: a })]);
  return [a, b] as const;
}

test.each(["process", "shared"] as const)(
  "A calls B calls A is named as an error within 2 s, and both go on (%s)",
  async (isolation) => {
    const [a, b] = await pair({ isolation });
    const startedAt = performance.now();
    await expect(get(a.ask.remote(2))).rejects.toSatisfy((thrown: Error) => {
      let error: unknown = thrown;
      while (error instanceof Error && (error as { code?: string }).code !== "DEADLOCK") error = error.cause;
      return error instanceof Error && error.name === "DeadlockError" && /Caller\.ask/.test(error.message);
    });
    expect(performance.now() - startedAt).toBeLessThan(DEADLOCK_MS);
    expect(await get([a.ping.remote(), b.ping.remote()])).toEqual(["pong", "pong"]);
    expect(await get(a.ask.remote(1))).toBe("answered");
  },
);

test("who catches the error goes on", async () => {
  const [a, b] = await pair();
  // B's wait for A closes the cycle; B tells A so, and A's own wait ends well.
  expect(await get(a.askSafely.remote(2))).toMatch(/TaskError|DeadlockError/);
  expect(await get([a.ping.remote(), b.ping.remote()])).toEqual(["pong", "pong"]);
});

test("an actor that waits for itself", async () => {
  const a = remote(Caller).remote();
  await get(a.meet.remote({ other: a }));
  expect(await get(a.askSafely.remote(1))).toBe("DeadlockError");
});

test("an actor that waits for a call whose argument it would make itself", async () => {
  const [a] = await pair();
  await expect(get(a.askForOwn.remote())).rejects.toMatchObject({ cause: { code: "DEADLOCK" } });
  expect(await get(a.ping.remote())).toBe("pong");
});

test("an actor that waits for a task, which its node sees through and which waits for a call of that actor", async () => {
  const a = remote(Caller).remote();
  await get(a.meet.remote({ other: a }));
  await expect(get(a.askByTask.remote())).rejects.toMatchObject({ cause: { code: "DEADLOCK" } });
  expect(await get(a.ping.remote())).toBe("pong");
});

test("an actor that waits for a ref of another process, which a call that is queued in it would make", async () => {
  const mailbox = remote(Mailbox, { maxConcurrency: 2 }).remote();
  const reader = remote(Reader).remote();
  const read = reader.read.remote({ from: mailbox });
  const reply = reader.reply.remote();
  await get(mailbox.send.remote([reply]));
  expect(await get(read)).toBe("DeadlockError");
  expect(await get(reply)).toBe("a reply");
});

test("with room for more calls the same cycle is none", async () => {
  const [a] = await pair({ maxConcurrency: 4 });
  expect(await get(a.ask.remote(4))).toBe("answered");
});
