/**
 * A worker's output, cut into lines that carry the name of the task or actor that wrote them. The worker says the name
 * in the stream itself, `ESC ] mobula ; <name> BEL`, before the first output under it, so that name and text cannot
 * come apart; the mark is taken out here. After the name may stand the ids of task and actor, each behind a `US`.
 */
import { StringDecoder } from "node:string_decoder";

export interface NamedLine {
  readonly name: string;
  /** Of the task or call, and of its actor. */
  readonly ids: readonly string[];
  readonly text: string;
}

const NO_IDS: readonly string[] = [];

const MARK_START = "\x1b]mobula;";
const MARK_END = "\x07";
const FIELD = "\x1f";
/** A line longer than this is cut: a program that prints no line ends must not fill the node's memory. */
const LINE_LENGTH_MAX = 64 * 1024;
const MARK_LENGTH_MAX = 512;

export class LineSplitter {
  private readonly decoder = new StringDecoder("utf8");
  private rest = "";
  private name = "";
  private ids = NO_IDS;

  push(chunk: Buffer): NamedLine[] {
    return this.split(this.decoder.write(chunk));
  }

  /** The last line, if it had no end. */
  finish(): NamedLine[] {
    const lines = this.split(this.decoder.end());
    if (this.rest !== "") lines.push({ name: this.name, ids: this.ids, text: this.rest });
    this.rest = "";
    return lines;
  }

  private split(text: string): NamedLine[] {
    const lines: NamedLine[] = [];
    let pending = this.rest + text;
    let line = "";
    for (;;) {
      const end = pending.indexOf("\n");
      const mark = pending.indexOf(MARK_START);
      if (mark >= 0 && (end < 0 || mark < end)) {
        const close = pending.indexOf(MARK_END, mark);
        if (close < 0 && pending.length - mark < MARK_LENGTH_MAX) break;
        line += pending.slice(0, mark);
        if (close < 0) {
          // Not ours after all: it stays in the text.
          line += MARK_START;
          pending = pending.slice(mark + MARK_START.length);
          continue;
        }
        // What stands before the mark on the same line was written under the old name.
        if (line !== "") {
          lines.push({ name: this.name, ids: this.ids, text: line });
          line = "";
        }
        const [name = "", ...ids] = pending.slice(mark + MARK_START.length, close).split(FIELD);
        this.name = name;
        this.ids = ids;
        pending = pending.slice(close + 1);
        continue;
      }
      if (end < 0) break;
      const full = line + pending.slice(0, end);
      line = "";
      lines.push({ name: this.name, ids: this.ids, text: full.endsWith("\r") ? full.slice(0, -1) : full });
      pending = pending.slice(end + 1);
    }
    this.rest = line + pending;
    while (this.rest.length > LINE_LENGTH_MAX) {
      lines.push({ name: this.name, ids: this.ids, text: this.rest.slice(0, LINE_LENGTH_MAX) });
      this.rest = this.rest.slice(LINE_LENGTH_MAX);
    }
    return lines;
  }
}

/** The last lines of a stream, for the message of a death. */
export class Tail {
  private text = "";
  private readonly lengthMax: number;

  constructor(lengthMax = 4096) {
    this.lengthMax = lengthMax;
  }

  push(line: string): void {
    this.text += `${line}\n`;
    if (this.text.length > 2 * this.lengthMax) this.text = this.text.slice(-this.lengthMax);
  }

  toString(): string {
    const kept = this.text.slice(-this.lengthMax);
    // A line that was cut off at its beginning says little.
    const start = kept.length < this.text.length ? kept.indexOf("\n") + 1 : 0;
    return kept.slice(start).trimEnd();
  }
}
