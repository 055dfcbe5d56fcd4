/** Fetches a timeline and reads it while it arrives. */
import { request } from "../api.ts";
import { type Timeline, TimelineBuilder } from "./model.ts";

/** How long lines are read before the page may do something else. */
const SLICE_MS = 12;

export async function loadTimeline(
  job: string,
  signal: AbortSignal,
  onProgress: (spans: number) => void,
): Promise<Timeline> {
  const response = await request(`timeline${job === "" ? "" : `?job=${encodeURIComponent(job)}`}`, { signal });
  const builder = new TimelineBuilder();
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (reader === undefined) return builder.finish();
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
  return builder.finish();
}
