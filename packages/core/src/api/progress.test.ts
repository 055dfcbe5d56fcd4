import { beforeEach, describe, expect, test } from "vitest";
import { PROGRESS_MARK } from "../wire/mod.ts";
import { installCore } from "./core-port.ts";
import { fakeCore } from "./fake-core.ts";
import { ProgressBoard, progressBar, takeProgressLine } from "./progress.ts";

const bar = { id: "1.1", label: "reading", total: 200 as number | null, done: 0, closed: false };

function screen(isTTY: boolean, columns = 60) {
  const written: string[] = [];
  return { written, isTTY, columns, write: (text: string) => written.push(text) };
}

/** What a terminal would show after all of that: text, and "up n lines, clear to the end". */
function shown(written: readonly string[]): string[] {
  const lines = [""];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is the escape sequence that is drawn with.
  for (const part of written.join("").split(/(\u001b\[\d+A\r\u001b\[J)/)) {
    const up = /\[(\d+)A/.exec(part);
    if (up) {
      lines.splice(lines.length - 1 - Number(up[1]));
      lines.push("");
      continue;
    }
    const [first = "", ...more] = part.split("\n");
    lines[lines.length - 1] += first;
    lines.push(...more);
  }
  return lines;
}

describe("the board on a terminal", () => {
  test("a bar is redrawn in place and stays when it is closed", () => {
    const terminal = screen(true);
    let nowMs = 0;
    const board = new ProgressBoard(terminal, () => nowMs);
    board.update(bar);
    nowMs = 2_000;
    board.update({ ...bar, done: 100 });
    expect(shown(terminal.written)).toEqual([`reading [${"#".repeat(15)}${"-".repeat(15)}]  50% 100/200 50/s`, ""]);
    nowMs = 4_000;
    board.update({ ...bar, done: 200, closed: true });
    const [line] = shown(terminal.written);
    expect(line).toMatch(/^reading \[#+\] 100% 200\/200 50\/s$/);
    expect(shown(terminal.written)).toHaveLength(2);
  });

  test("several bars have a line each, and other text goes above them", () => {
    const terminal = screen(true);
    const board = new ProgressBoard(terminal, () => 1_000);
    board.update(bar);
    board.update({ ...bar, id: "2.1", label: "writing", total: null });
    board.printAbove(() => terminal.write("a log line\n"));
    const lines = shown(terminal.written);
    expect(lines[0]).toBe("a log line");
    expect(lines[1]).toMatch(/^reading /);
    expect(lines[2]).toMatch(/^writing 0 /);
    expect(lines).toHaveLength(4);
  });

  test("no line is wider than the terminal", () => {
    for (const columns of [20, 30, 40, 80, 200]) {
      const terminal = screen(true, columns);
      const board = new ProgressBoard(terminal, () => 1_000);
      board.update({ ...bar, label: "a rather long label for a bar", done: 150, total: 1_000_000 });
      for (const line of shown(terminal.written)) expect(line.length).toBeLessThan(columns);
    }
  });

  test("a label that leaves no room for a bar is cut, and not the numbers", () => {
    const terminal = screen(true, 40);
    const board = new ProgressBoard(terminal, () => 1_000);
    board.update({ ...bar, label: "a rather long label for a bar", done: 150 });
    expect(shown(terminal.written)[0]).toMatch(/^a rather .*… {1,3}75% 150\/200 /);
  });

  test("bars of processes that never close them do not pile up", () => {
    const terminal = screen(true);
    const board = new ProgressBoard(terminal, () => 0);
    for (let index = 0; index < 100; index++) board.update({ ...bar, id: `${index}.1` });
    expect(shown(terminal.written).length).toBeLessThanOrEqual(21);
  });

  test("a total of nothing is done at once, and more than the total is a full bar", () => {
    const terminal = screen(true);
    const board = new ProgressBoard(terminal, () => 0);
    board.update({ ...bar, total: 0 });
    expect(shown(terminal.written)[0]).toContain("100% 0/0");
    board.update({ ...bar, done: 300 });
    expect(shown(terminal.written)[0]).toContain("100% 300/200");
  });
});

test("what is not a terminal gets a line every five seconds and the last one", () => {
  const file = screen(false);
  let nowMs = 0;
  const board = new ProgressBoard(file, () => nowMs);
  for (; nowMs <= 11_000; nowMs += 100) board.update({ ...bar, done: nowMs / 100 });
  board.update({ ...bar, done: 200, closed: true });
  expect(file.written).toHaveLength(3);
  expect(file.written.join("")).not.toContain("\u001b");
});

describe("progressBar", () => {
  beforeEach(() => {
    installCore({ ...fakeCore(), isDriverProcess: () => false });
  });

  function captureOutput(run: () => void): string[] {
    const written: string[] = [];
    const original = process.stdout.write;
    process.stdout.write = ((text: string) => {
      written.push(text);
      return true;
    }) as typeof process.stdout.write;
    try {
      run();
    } finally {
      process.stdout.write = original;
    }
    return written;
  }

  test("in a worker it writes the first and the last state at once, and not each one between", () => {
    const lines = captureOutput(() => {
      using progress = progressBar(1_000, "work");
      for (let index = 0; index < 1_000; index++) progress.add();
    });
    expect(lines.length).toBeLessThan(20);
    const states = lines.map((line) => JSON.parse(line.slice(PROGRESS_MARK.length)));
    expect(states[0]).toMatchObject({ label: "work", total: 1_000, done: 0, closed: false });
    expect(states.at(-1)).toMatchObject({ done: 1_000, closed: true });
  });

  test("the driver takes such lines and leaves others alone", () => {
    expect(takeProgressLine("just text")).toBe(false);
    expect(takeProgressLine(`${PROGRESS_MARK}{"cut o`)).toBe(true);
    expect(takeProgressLine(`${PROGRESS_MARK}{"id":5}`)).toBe(true);
  });

  test("a total that is not a number is refused", () => {
    expect(() => progressBar(-1, "x")).toThrow(/total -1/);
    expect(() => progressBar("5" as never, "x")).toThrow(/total 5/);
  });
});
