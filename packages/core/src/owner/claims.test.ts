import { describe, expect, test } from "vitest";
import { newProcessId, type ProcessId, type Seq } from "../base/ids.ts";
import { guardKey, OwnerClaims, WorkerClaims } from "./claims.ts";

const WORDS = 18;

function setUp() {
  const words = new Int32Array(new SharedArrayBuffer(4 * WORDS));
  const signalled: number[] = [];
  const owner = (self: ProcessId = newProcessId()): OwnerClaims =>
    new OwnerClaims(words, 1234, self, (pid) => signalled.push(pid) > 0);
  return { worker: new WorkerClaims(words), owner, signalled };
}

describe("claim words", () => {
  test("exactly one of owner and worker gets a task", () => {
    const { worker, owner } = setUp();
    const claims = owner();
    const first = claims.acquire();
    const sequence = claims.sequenceOf(first);
    expect(worker.start(first, sequence)).toBe(true);
    expect(claims.wasStarted(first, sequence)).toBe(true);
    expect(claims.takeBack(first, sequence)).toBe(false);
    const second = claims.acquire();
    expect(claims.takeBack(second, claims.sequenceOf(second))).toBe(true);
    expect(worker.start(second, claims.sequenceOf(second))).toBe(false);
  });

  test("an old message does not claim a word that was used again", () => {
    const { worker, owner } = setUp();
    const claims = owner();
    const slot = claims.acquire();
    const old = claims.sequenceOf(slot);
    claims.takeBack(slot, old);
    claims.release(slot);
    expect(claims.acquire()).toBe(slot);
    expect(worker.start(slot, old)).toBe(false);
    expect(worker.start(slot, claims.sequenceOf(slot))).toBe(true);
  });

  test("owners that share a worker never get the same word, and all words are used before one goes without", () => {
    const { owner } = setUp();
    const owners = [owner(), owner(), owner()];
    const taken = new Set<number>();
    for (let round = 0; round < WORDS; round++) {
      for (const claims of owners) {
        const slot = claims.acquire();
        if (slot === 0) continue;
        expect(taken.has(slot)).toBe(false);
        taken.add(slot);
      }
    }
    expect(taken.size).toBe(WORDS - 2);
    expect(owners.map((claims) => claims.acquire())).toEqual([0, 0, 0]);
  });

  test("words that another owner gives back can be had again", () => {
    const { owner } = setUp();
    const [one, other] = [owner(), owner()];
    const slots = Array.from({ length: WORDS - 2 }, () => one.acquire());
    expect(slots).not.toContain(0);
    expect(other.acquire()).toBe(0);
    for (const slot of slots) one.release(slot);
    const again = new Set(Array.from({ length: WORDS }, () => other.acquire()));
    again.delete(0);
    expect(again.size).toBe(WORDS - 2);
  });

  test("a cancel interrupts only the call that it means, whichever owner numbered it the same", () => {
    const { worker, owner, signalled } = setUp();
    const [one, other] = ["1", "2"].map((digit) => digit.repeat(24) as ProcessId) as [ProcessId, ProcessId];
    const seq = 5 as Seq;
    worker.enterGuard(guardKey(one, seq));
    expect(owner(other).interrupt(seq)).toBe(false);
    expect(signalled).toEqual([]);
    expect(owner(one).interrupt(seq)).toBe(true);
    expect(signalled).toEqual([1234]);
    expect(worker.leaveGuard()).toBe(false);
  });
});
