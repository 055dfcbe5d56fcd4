/** What happened, for people: the last events of a run, and a hash of all of them. */
import { createHash } from "node:crypto";

interface Entry {
  readonly atMs: number;
  readonly who: string;
  readonly what: string;
  readonly about: unknown;
}

/** As many as may matter to what went wrong. */
const ENTRIES_MAX = 200_000;
const TEXT_MAX = 400;

export class Trace {
  private entries: Entry[] = [];
  private readonly hash = createHash("sha256");
  /** Ids, and what people call them. */
  private readonly names = new Map<string, string>();

  name(id: string, name: string): void {
    this.names.set(id, name);
  }

  nameOf(id: string): string {
    return this.names.get(id) ?? id;
  }

  add(atMs: number, who: string, what: string, about?: unknown): void {
    this.hash.update(`${atMs} ${who} ${what}\n`);
    this.entries.push({ atMs, who, what, about });
    if (this.entries.length > 2 * ENTRIES_MAX) this.entries = this.entries.slice(-ENTRIES_MAX);
  }

  /** Of everything so far. */
  digest(): string {
    return this.hash.copy().digest("hex").slice(0, 16);
  }

  /** The last events in which one of the words occurs, or of all; times count from `startedMs`. */
  tail(words: readonly string[], count: number, startedMs: number): string {
    const found: string[] = [];
    for (let at = this.entries.length - 1; at >= 0 && found.length < count; at--) {
      const entry = this.entries[at];
      if (!entry) continue;
      const text = `${entry.who}  ${entry.what} ${write(entry.about)}`;
      const readable = this.readable(text);
      if (words.length > 0 && !words.some((word) => text.includes(word) || readable.includes(word))) continue;
      const ms = (entry.atMs - startedMs).toFixed(3).padStart(12);
      found.push(`${ms}  ${readable.slice(0, TEXT_MAX)}`);
    }
    return found.reverse().join("\n");
  }

  readable(text: string): string {
    return text.replace(/[0-9a-f]{16,40}/g, (id) => {
      const known = this.names.get(id);
      return (
        known ?? (id.length > 16 ? (this.names.get(id.slice(0, 24)) ?? `${id.slice(0, 8)}…`) : `${id.slice(0, 8)}…`)
      );
    });
  }
}

function write(about: unknown): string {
  if (about === undefined) return "";
  return (
    JSON.stringify(about, (key, value) => {
      if (value instanceof Uint8Array) return `${value.length} bytes`;
      if (key === "bytes" || key === "spec" || key === "code" || key === "args") return "…";
      return value instanceof Map ? [...value] : value;
    }) ?? ""
  );
}
