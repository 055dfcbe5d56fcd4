/** Items of streams whose copy in the store is lost: on one machine, on a disk that cannot be read. */
import { readdirSync, readFileSync, readlinkSync, truncateSync } from "node:fs";
import { get, init, type ObjectRef, remote, shutdown } from "mobula";
import { afterEach, expect, test } from "vitest";
import { newFolder } from "../new-folder.ts";
import { note, notes } from "../tasks/helpers.ts";
import { until } from "./store-state.ts";

const MIB = 2 ** 20;
const ITEMS = 24;
const BYTES = 4 * MIB;

afterEach(() => shutdown());

const items = remote(function* (folder: string, count: number, bytes: number) {
  note(folder, "runs");
  for (let at = 0; at < count; at++) yield new Uint8Array(bytes).fill(at);
});

/** All that has left memory for the disk. Its files have no names any more; the process that has them open shows them. */
function emptySpilledFiles(spillDirectory: string): number {
  let emptied = 0;
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, "utf8").trim().split(" ");
  for (const pid of children) {
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      const file = `/proc/${pid}/fd/${fd}`;
      if (!readlinkSync(file).startsWith(spillDirectory)) continue;
      truncateSync(file, 0);
      emptied++;
    }
  }
  return emptied;
}

/** Refs of a stream's items, of which some are lost. */
async function withLostItems(folder: string, maxRetries: number): Promise<ObjectRef<Uint8Array>[]> {
  const spillDirectory = newFolder();
  await init({ resources: { cpu: 1 }, objectStoreBytes: 64 * MIB, spillDirectory });
  const refs: ObjectRef<Uint8Array>[] = [];
  for await (const ref of items.options({ maxRetries }).remote(folder, ITEMS, BYTES)) refs.push(ref);
  // All of them are there, and so few in memory that nothing is being written out any more.
  await until(
    ({ usedBytes, spilledBytes, capacityBytes }) =>
      usedBytes + spilledBytes >= ITEMS * BYTES && usedBytes <= 0.8 * capacityBytes,
  );
  expect(emptySpilledFiles(spillDirectory)).toBeGreaterThan(0);
  return refs;
}

test("they are made again by their generator, and are what they were", async () => {
  const folder = newFolder();
  // Each is found to be lost when it is read: the generator may be past it then, and has to run once more.
  const refs = await withLostItems(folder, -1);
  for (const [at, ref] of refs.entries()) {
    const value = await get(ref);
    expect([value.length, value[0], value[BYTES - 1]]).toEqual([BYTES, at, at]);
    ref[Symbol.dispose]();
  }
  expect(notes(folder).length).toBeGreaterThan(1);
});

test("a generator that may not run twice is not run again: the error says so", async () => {
  const folder = newFolder();
  const refs = await withLostItems(folder, 0);
  const outcomes = await Promise.allSettled(refs.map((ref) => get(ref)));
  const errors = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
  expect(errors.length).toBeGreaterThan(0);
  for (const error of errors) {
    expect(error).toMatchObject({ code: "OBJECT_LOST", message: expect.stringMatching(/has maxRetries 0$/) });
  }
  expect(notes(folder)).toEqual(["runs"]);
});
