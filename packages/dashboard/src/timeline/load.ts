/** Fetches a timeline, in pieces, the newest first, and reads each while it arrives. */
import { request } from "../api.ts";
import { count } from "../format.ts";
import { type Timeline, TimelineBuilder } from "./model.ts";

/** How long lines are read before the page may do something else. */
const SLICE_MS = 12;
/** Attempts of a piece: 20 MB of text. */
const PIECE = 50_000;
/** What a page holds: 60 MB. A frame costs by the pixels in view, so it is as smooth as with fewer. */
const SPANS_MAX = 300_000;

export interface LoadEvents {
  onProgress(spans: number): void;
  /** The newest piece is there, and older ones are on their way. */
  onFirst(timeline: Timeline): void;
}

export async function loadTimeline(job: string, signal: AbortSignal, events: LoadEvents): Promise<Timeline> {
  const builder = new TimelineBuilder();
  let cursor: string | undefined;
  let asked = 0;
  do {
    const params = new URLSearchParams({ attempts: String(PIECE) });
    if (job !== "") params.set("job", job);
    if (cursor !== undefined) params.set("cursor", cursor);
    builder.nextPiece();
    await readPiece(`timeline?${params}`, builder, signal, events);
    const isFirst = cursor === undefined;
    cursor = builder.info.next;
    asked += PIECE;
    if (isFirst && cursor !== undefined) events.onFirst(builder.finish());
  } while (cursor !== undefined && asked < SPANS_MAX);
  return { ...builder.finish(), ...noteOf(asked, builder.info.kept, cursor === undefined) };
}

/** Undefined, as the file says it, of a service that does not say how many it keeps. */
export function noteOf(asked: number, kept: number | undefined, isAll: boolean): { readonly note?: string } {
  if (kept === undefined) return {};
  const what = isAll
    ? "all attempts that are kept"
    : `the newest of ${count(kept)} attempts that are kept; ${count(Math.max(0, kept - asked))} older ones are left out`;
  return {
    note: `${what}; above 2,000 a second in one process only a sample is kept, with all that failed or took 50 ms`,
  };
}

async function readPiece(
  path: string,
  builder: TimelineBuilder,
  signal: AbortSignal,
  { onProgress }: LoadEvents,
): Promise<void> {
  const response = await request(path, { signal });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (reader === undefined) return;
  let rest = "";
  let sliceFrom = performance.now();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      builder.addLine(line);
      if (performance.now() - sliceFrom < SLICE_MS) continue;
      onProgress(builder.spans);
      await new Promise((resolve) => setTimeout(resolve));
      signal.throwIfAborted();
      sliceFrom = performance.now();
    }
  }
  if (rest.trim() !== "" && rest.includes('"ph"')) builder.addLine(rest);
}
