import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { newNodeId, newProcessId, nodeTag } from "../base/ids.ts";
import { ProcessWatch } from "./process-watch.ts";

const [here, there] = [newNodeId(), newNodeId()];
const [first, second] = [newProcessId(here), newProcessId(here)];
const watched = newProcessId(there);

function watch(...known: string[]) {
  const told: unknown[] = [];
  const homes = new Set(known);
  const one = new ProcessWatch({
    isKnown: (home) => homes.has(home),
    watch: (process) => void told.push(`watch ${process}`),
    send: (to, { processId, isLost }) => void told.push([to, processId, isLost]),
    later: (ms, run) => {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
  });
  return { one, homes, told };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("all who have asked are told once that a process is gone, but for those that have left", () => {
  const { one, told } = watch(nodeTag(there));
  const third = newProcessId(here);
  for (const watcher of [first, second, third, first]) one.add(watcher, watched);
  one.left(second);
  one.gone(watched);
  one.gone(watched);
  expect(told).toEqual([`watch ${watched}`, [first, watched, false], [third, watched, false]]);
});

test("with its node gone, a process is lost", () => {
  const { one, homes, told } = watch(nodeTag(there));
  one.add(first, watched);
  homes.clear();
  one.gone(watched);
  expect(told).toEqual([`watch ${watched}`, [first, watched, true]]);
});

test("a node that control has not told of yet may just have joined; one that it does not tell of has died", () => {
  const { one, homes, told } = watch();
  const other = newProcessId(newNodeId());
  one.add(first, watched);
  one.add(second, other);
  vi.advanceTimersByTime(4_000);
  expect(told).toEqual([]);
  homes.add(nodeTag(there));
  one.nodesChanged();
  vi.advanceTimersByTime(2_000);
  expect(told).toEqual([`watch ${watched}`, [second, other, true]]);
});
