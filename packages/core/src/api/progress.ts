/**
 * Progress bars. In the driver a bar draws itself, and the driver tells its node of it. In a worker it writes lines of their own
 * kind (`wire/progress-bars.ts`) to its output, of which its node takes note, and which reach the driver as every line does; the
 * driver gives lines to {@link takeProgressLine} first, and prints what that does not take through
 * {@link ProgressBoard.printAbove}, so that text and bars do not mix. The dashboard asks the nodes.
 */
import type { Writable } from "node:stream";
import { monotonicMs } from "../base/clock.ts";
import { InvalidOptionError } from "../base/errors.ts";
import { type BarState, barLabel, barLine, barOfLine, isBarLine } from "../wire/mod.ts";
import { core } from "./core-port.ts";

/** A person sees no more than ten changes a second, and a worker sends no more than that. */
const UPDATE_MS = 100;
/** A stream that is not a terminal gets a whole line each time, so it gets them seldom. */
const LINE_MS = 5_000;
const BAR_CHARS_MAX = 30;
/** Bars of workers that died before closing them must not pile up. */
const BARS_MAX = 20;
/** A bar on the terminal and in the dashboard, made by `progressBar`. Disposing it closes it. */
export interface ProgressBar extends Disposable {
  /** So many more are done. Default 1. */
  add(count?: number): void;
  /** So many are done in all. */
  set(done: number): void;
  /** Draws the last state and leaves it on the screen. */
  close(): void;
}

let barsMade = 0;

/**
 * Shows how far something is, on the driver's terminal and on its job's page of the dashboard, also from inside tasks and actors.
 *
 * @param total how many there will be; undefined when it is not known.
 * @param label one line; of a longer one the first 200 characters.
 * @throws InvalidOptionError for a total that is not a number of at least 0.
 * @example using bar = progressBar(files.length, "reading"); for (const file of files) { read(file); bar.add(); }
 */
export function progressBar(total: number | undefined, label: string): ProgressBar {
  if (total !== undefined && !(typeof total === "number" && total >= 0)) {
    throw new InvalidOptionError(`progressBar() got the total ${String(total)}; it must be a number of at least 0`);
  }
  const id = `${process.pid}.${++barsMade}`;
  const isDriver = core().isDriverProcess();
  const send = isDriver ? showHere : sendFromWorker;
  const shown = barLabel(String(label));
  let done = 0;
  let closed = false;
  let sentAtMs = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;

  const sendNow = () => {
    clearTimeout(timer);
    timer = undefined;
    sentAtMs = monotonicMs();
    send({ id, label: shown, total: total ?? null, done, closed });
  };
  const changed = () => {
    if (closed) return;
    const waitMs = sentAtMs + UPDATE_MS - monotonicMs();
    if (waitMs <= 0) sendNow();
    else timer ??= setTimeout(sendNow, waitMs).unref();
  };
  const close = () => {
    if (closed) return;
    closed = true;
    sendNow();
  };
  changed();
  return {
    add(count = 1) {
      done += count;
      changed();
    },
    set(value) {
      done = value;
      changed();
    },
    close,
    [Symbol.dispose]: close,
  };
}

function showHere(bar: BarState): void {
  board().update(bar);
  core().tellBar(bar);
}

function sendFromWorker(bar: BarState): void {
  process.stdout.write(barLine(bar));
}

/** True when a worker's line was news of a bar; then it must not be printed. */
export function takeProgressLine(line: string): boolean {
  if (!isBarLine(line)) return false;
  const bar = barOfLine(line);
  if (bar) board().update(bar);
  return true;
}

/** What {@link ProgressBoard} draws on: `process.stderr` or a test's stand-in. */
export interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

interface Drawn {
  state: BarState;
  readonly startedAtMs: number;
  printedAtMs: number;
}

/** All bars of the driver, one a line, below whatever else is printed. */
export class ProgressBoard {
  readonly #screen: Screen;
  readonly #nowMs: () => number;
  readonly #bars = new Map<string, Drawn>();
  #linesOnScreen = 0;

  constructor(screen: Screen, nowMs: () => number = monotonicMs) {
    this.#screen = screen;
    this.#nowMs = nowMs;
  }

  update(state: BarState): void {
    const nowMs = this.#nowMs();
    let bar = this.#bars.get(state.id);
    if (bar === undefined) {
      bar = { state, startedAtMs: nowMs, printedAtMs: nowMs };
      this.#bars.set(state.id, bar);
      this.#dropOldest();
    }
    bar.state = state;
    if (this.#screen.isTTY === true) this.#updateTerminal(bar, nowMs);
    else if (state.closed || nowMs - bar.printedAtMs >= LINE_MS) {
      bar.printedAtMs = nowMs;
      this.#screen.write(`${this.#text(bar, nowMs)}\n`);
    }
    if (state.closed) this.#bars.delete(state.id);
  }

  /** Runs `print` with the bars out of the way. */
  printAbove(print: () => void): void {
    this.#erase();
    print();
    this.#draw(this.#nowMs());
  }

  #updateTerminal(bar: Drawn, nowMs: number): void {
    this.#erase();
    if (bar.state.closed) {
      this.#screen.write(`${this.#text(bar, nowMs)}\n`);
      this.#bars.delete(bar.state.id);
    }
    this.#draw(nowMs);
  }

  #erase(): void {
    if (this.#linesOnScreen > 0) this.#screen.write(`\u001b[${this.#linesOnScreen}A\r\u001b[J`);
    this.#linesOnScreen = 0;
  }

  #draw(nowMs: number): void {
    if (this.#screen.isTTY !== true || this.#bars.size === 0) return;
    const lines = [...this.#bars.values()].map((bar) => this.#text(bar, nowMs));
    this.#screen.write(`${lines.join("\n")}\n`);
    this.#linesOnScreen = lines.length;
  }

  #dropOldest(): void {
    const [oldest] = this.#bars.keys();
    if (this.#bars.size > BARS_MAX && oldest !== undefined) this.#bars.delete(oldest);
  }

  #text({ state, startedAtMs }: Drawn, nowMs: number): string {
    const { label, total, done } = state;
    const seconds = Math.max(0.001, (nowMs - startedAtMs) / 1000);
    const rate = `${format(done / seconds)}/s`;
    const columns = Math.max(20, this.#screen.columns ?? 80) - 1;
    if (total === null) return withLabel(label, `${format(done)} ${rate}`, columns);
    const share = total === 0 ? 1 : Math.min(1, Math.max(0, done / total));
    const numbers = `${Math.floor(share * 100)
      .toString()
      .padStart(3)}% ${format(done)}/${format(total)} ${rate}`;
    const width = Math.min(BAR_CHARS_MAX, columns - label.length - numbers.length - 4);
    if (width < 5) return withLabel(label, numbers, columns);
    const filled = Math.round(share * width);
    return `${label} [${"#".repeat(filled)}${"-".repeat(width - filled)}] ${numbers}`;
  }
}

function format(value: number): string {
  return Number.isInteger(value) || value >= 100 ? Math.round(value).toLocaleString("en-US") : value.toFixed(1);
}

/** The driver's own bars, on standard error so that piped results stay clean. */
export function board(): ProgressBoard {
  driverBoard ??= new ProgressBoard(process.stderr satisfies Writable & Screen);
  return driverBoard;
}
let driverBoard: ProgressBoard | undefined;

/** The numbers are what changes: a label that is too long gives way to them. */
function withLabel(label: string, numbers: string, columns: number): string {
  const room = Math.max(1, columns - numbers.length - 1);
  return `${label.length > room ? `${label.slice(0, room - 1)}…` : label} ${numbers}`.slice(0, columns);
}
