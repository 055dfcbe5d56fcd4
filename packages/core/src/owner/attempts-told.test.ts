import { describe, expect, test } from "vitest";
import { type SentTask, TestOwner, type TestWorker } from "./test-owner.ts";

const NAME = "f1";

function withSent(count: number, options: Parameters<TestOwner["register"]>[1] = {}) {
  const owner = new TestOwner();
  owner.register(1, options);
  for (let seq = 1; seq <= count; seq++) owner.submit(seq);
  owner.flush();
  const worker = owner.grant(1, 0);
  return { owner, worker, sent: sentTo(worker) };
}

function sentTo(worker: TestWorker): [SentTask, SentTask] {
  return worker.takeTasks() as [SentTask, SentTask];
}

describe("each attempt is told of once, when it has ended", () => {
  test("well, or with what was thrown, and again after a retry", () => {
    const { owner, worker, sent } = withSent(1, { maxRetries: 1 });
    owner.throws(worker, sent[0], true);
    owner.flush();
    owner.ok(worker, sentTo(worker)[0]);
    expect(owner.attempts).toEqual(["1.0 error at w0: attempt 0", "1.1 ok at w0"]);
  });

  test("with the wrong number of values", () => {
    const { owner, worker, sent } = withSent(1);
    owner.results(worker, sent[0], []);
    expect(owner.attempts).toEqual([`1.0 error at w0: ${NAME} gave 0 values, but numReturns is 1`]);
  });

  test("lost with its worker, unless it had not begun: then it goes on elsewhere", () => {
    const { owner, worker, sent } = withSent(2);
    owner.start(worker, sent[0]);
    owner.lose(1, worker);
    const next = owner.grant(2, 1);
    owner.ok(next, sentTo(next)[0]);
    expect(owner.attempts).toEqual(["1.0 lost at w0", "2.0 ok at w1"]);
  });

  test("cancelled while it waited for its arguments, in the queue, or in the queue of a worker", () => {
    const { owner, worker, sent } = withSent(2);
    owner.start(worker, sent[0]);
    owner.submit(3, 1, [1]);
    owner.register(2);
    owner.revoke(1);
    owner.submit(4);
    for (const seq of [3, 4, 2]) owner.cancel(seq);
    expect(owner.attempts).toEqual([3, 4, 2].map((seq) => `${seq}.0 cancelled nowhere: ${NAME} was cancelled`));
    owner.ok(worker, sent[0]);
    expect(owner.attempts.slice(3)).toEqual(["1.0 ok at w0"]);
  });

  test("cancelled while it ran: when its worker lets go of it, whatever comes of it", () => {
    for (const end of ["ok", "throws", "lost"] as const) {
      const { owner, worker, sent } = withSent(1);
      owner.start(worker, sent[0]);
      owner.cancel(1);
      expect(owner.attempts).toEqual([]);
      if (end === "ok") owner.ok(worker, sent[0]);
      else if (end === "throws") owner.throws(worker, sent[0], false);
      else owner.lose(1, worker);
      expect(owner.attempts).toEqual([`1.0 cancelled at w0: ${NAME} was cancelled`]);
    }
  });

  test("given back by its worker after it was cancelled", () => {
    const owner = new TestOwner({ hasClaims: false });
    owner.register(1);
    for (const seq of [1, 2]) owner.submit(seq);
    owner.flush();
    const worker = owner.grant(1, 0);
    owner.cancel(2);
    owner.returned(worker, 2);
    expect(owner.attempts).toEqual([`2.0 cancelled nowhere: ${NAME} was cancelled`]);
  });

  test("not run, because an argument failed", () => {
    const { owner, worker, sent } = withSent(1);
    owner.submit(2, 1, [1]);
    owner.throws(worker, sent[0], false);
    expect(owner.attempts).toEqual([
      "1.0 error at w0: attempt 0",
      `2.0 error nowhere: ${NAME} was not run, because one of its arguments failed`,
    ]);
  });

  test("past its time limit", () => {
    const { owner, worker, sent } = withSent(1, { timeoutMs: 100 });
    owner.start(worker, sent[0]);
    owner.pass(200);
    owner.lose(1, worker);
    expect(owner.attempts).toEqual([expect.stringMatching(/^1\.0 error at w0: .*timeoutMs of 100 ms/)]);
  });
});
