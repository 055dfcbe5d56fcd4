import { describe, expect, test } from "vitest";
import type { ProcessId } from "../base/ids.ts";
import { ANSWER_KEPT_FROM_MICROS } from "../wire/mod.ts";
import type { OwnerConnection } from "./connection.ts";
import { Orphans } from "./orphans.ts";
import type { TaskMessage } from "./task-runner.ts";

const LONG = ANSWER_KEPT_FROM_MICROS;

/** What an orphan's keeper looks at of a connection; `told` is what its owner was told. */
function connectionOf(ownerId: string) {
  const told: string[] = [];
  const inherited = (tasks: readonly TaskMessage[]): void =>
    void told.push(`left ${tasks.map(({ seq, attempt }) => `${seq}.${attempt}`).join(" ")}`);
  return { ownerId: ownerId as ProcessId, isOver: false, results: { inherited }, told };
}
type Connection = ReturnType<typeof connectionOf>;
const as = (connection: Connection): OwnerConnection => connection as unknown as OwnerConnection;

function taskOf(connection: Connection, seq: number, isStream = false): TaskMessage {
  return { connection: as(connection), seq, attempt: 0, template: { isStream } } as unknown as TaskMessage;
}

function left() {
  const orphans = new Orphans();
  const owner = connectionOf("owner");
  const heir = connectionOf("owner");
  const reported: number[] = [];
  const answered = (seq: number, runMicros = LONG, isStream = false): void =>
    orphans.answered(taskOf(owner, seq, isStream), runMicros, () => reported.push(seq));
  /** The owner's end is seen, and its heir asks. */
  const passTo = (running?: TaskMessage) => {
    owner.isOver = true;
    orphans.passTo(as(heir), running);
    return { told: heir.told, reported };
  };
  return { orphans, owner, heir, answered, passTo };
}

describe("an heir gets", () => {
  test("what its owner had not heard, in the order in which it was answered, and is told of what runs", () => {
    const { answered, owner, passTo } = left();
    answered(1);
    answered(2);
    expect(passTo(taskOf(owner, 3))).toEqual({ told: ["left 1.0 2.0 3.0"], reported: [1, 2] });
  });

  test("what was answered long ago, if its owner has not read it", async () => {
    const { answered, passTo } = left();
    answered(1);
    // No time and no turn of the event loop says that an owner reads what was written to it.
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
    expect(passTo()).toEqual({ told: ["left 1.0"], reported: [1] });
  });

  test("nothing that its owner has heard", () => {
    const { answered, orphans, owner, passTo } = left();
    for (const seq of [1, 2, 3]) answered(seq);
    orphans.heard(as(owner), 2, 0);
    // Of another attempt, or another owner's.
    orphans.heard(as(owner), 1, 1);
    orphans.heard(as(connectionOf("other")), 3, 0);
    expect(passTo()).toEqual({ told: ["left 1.0 3.0"], reported: [1, 3] });
  });

  test("neither what is quickly made again nor streams", () => {
    const { answered, passTo } = left();
    answered(1, LONG - 1);
    answered(2, LONG, true);
    expect(passTo()).toEqual({ told: ["left "], reported: [] });
  });

  test("nothing of an earlier lease", () => {
    const { answered, orphans, passTo } = left();
    answered(1);
    orphans.clear();
    expect(passTo()).toEqual({ told: ["left "], reported: [] });
  });

  test("the newest of very many", () => {
    const { answered, passTo } = left();
    for (let seq = 1; seq <= 100; seq++) answered(seq);
    const { reported } = passTo();
    expect(reported).toEqual(Array.from({ length: 16 }, (_, index) => 85 + index));
  });
});

test("what belongs to an owner that lives stays", () => {
  const { answered, heir, orphans } = left();
  answered(1);
  orphans.passTo(as(heir), undefined);
  expect(heir.told).toEqual(["left "]);
});
