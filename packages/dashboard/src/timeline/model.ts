/**
 * Spans in columns, a lane for each row of a process, and what of them is worth drawing.
 *
 * Spans of a lane are sorted and do not overlap, so sums over any stretch are differences of two prefix sums. Where
 * spans are narrower than a pixel, one pixel stands for all that begin in it, and a search finds the first that does not:
 * the work of a frame depends on the pixels in view, not on the spans.
 */

export interface Span {
  readonly lane: number;
  readonly index: number;
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly outcome: string;
  readonly taskId: string | undefined;
}

export interface Lane {
  readonly pid: number;
  readonly tid: number;
  readonly title: string;
  /** The name of its process. */
  readonly process: string;
  readonly count: number;
  /** Milliseconds since the timeline's origin. */
  readonly start: Float64Array;
  readonly end: Float64Array;
  /** Into `names`. */
  readonly name: Uint32Array;
  /** Of the spans before this one: how long they ran together, and how many failed. */
  readonly busyBefore: Float64Array;
  readonly failedBefore: Uint32Array;
  readonly outcome: Uint8Array;
  readonly taskIds: readonly (string | undefined)[];
}

export interface Timeline {
  readonly lanes: readonly Lane[];
  readonly names: readonly string[];
  readonly outcomes: readonly string[];
  readonly spans: number;
  readonly startMs: number;
  readonly endMs: number;
  /** Milliseconds since 1970 of the origin, where the file says it. */
  readonly originMs: number | undefined;
  /** What is not in it, in words. */
  readonly note: string | undefined;
}

/** One thing to draw: in pixels from the left side of the view. */
export interface Run {
  x: number;
  width: number;
  name: number;
  /** How much of it was busy, 0 to 1; 1 for a span that is drawn by itself. */
  share: number;
  hasFailed: boolean;
  /** The span, when it is drawn by itself; -1 for several. */
  index: number;
}

/** Spans of this width are drawn by themselves. */
const ALONE_PX = 1.5;

/** Calls `emit` for what to draw between two times; the object is the same each time. */
export function visibleRuns(lane: Lane, fromMs: number, toMs: number, pxPerMs: number, emit: (run: Run) => void): void {
  const { start, end, count, name, busyBefore, failedBefore } = lane;
  const run: Run = { x: 0, width: 0, name: 0, share: 1, hasFailed: false, index: -1 };
  let at = firstEndingAfter(lane, fromMs);
  while (at < count && (start[at] as number) < toMs) {
    const x = ((start[at] as number) - fromMs) * pxPerMs;
    const width = ((end[at] as number) - (start[at] as number)) * pxPerMs;
    run.name = name[at] as number;
    if (width >= ALONE_PX) {
      run.x = x;
      run.width = width;
      run.share = 1;
      run.hasFailed = (failedBefore[at + 1] as number) > (failedBefore[at] as number);
      run.index = at;
      emit(run);
      at++;
      continue;
    }
    const pixel = Math.floor(x);
    const next = firstStartingFrom(lane, fromMs + (pixel + 1) / pxPerMs, at + 1);
    run.x = pixel;
    run.width = 1;
    // What runs on into the next pixels counts here: it is less than a pixel and a half.
    run.share = Math.min(1, ((busyBefore[next] as number) - (busyBefore[at] as number)) * pxPerMs);
    run.hasFailed = (failedBefore[next] as number) > (failedBefore[at] as number);
    run.index = next === at + 1 ? at : -1;
    emit(run);
    at = next;
  }
}

/** The span at a time, or one that is not more than `slackMs` away. */
export function spanAt(lane: Lane, ms: number, slackMs: number): number | undefined {
  const at = firstEndingAfter(lane, ms - slackMs);
  if (at >= lane.count || (lane.start[at] as number) > ms + slackMs) return undefined;
  // Of two within reach the one that holds the time.
  const next = at + 1;
  return next < lane.count && (lane.start[next] as number) <= ms ? next : at;
}

export function spanOf(timeline: Timeline, lane: number, index: number): Span | undefined {
  const row = timeline.lanes[lane];
  if (row === undefined || index < 0 || index >= row.count) return undefined;
  return {
    lane,
    index,
    name: timeline.names[row.name[index] as number] ?? "?",
    startMs: row.start[index] as number,
    endMs: row.end[index] as number,
    outcome: timeline.outcomes[row.outcome[index] as number] ?? "?",
    taskId: row.taskIds[index],
  };
}

function firstEndingAfter({ end, count }: Lane, ms: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((end[middle] as number) > ms) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** From `from` on: looks twice as far each time, since most answers are near. */
function firstStartingFrom({ start, count }: Lane, ms: number, from: number): number {
  let step = 1;
  let low = from;
  while (low + step < count && (start[low + step] as number) < ms) {
    low += step;
    step *= 2;
  }
  let high = Math.min(count, low + step);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((start[middle] as number) >= ms) high = middle;
    else low = middle + 1;
  }
  return low;
}

// ── From Chrome's trace format ──

interface TraceEvent {
  readonly ph?: string;
  readonly pid?: number;
  readonly tid?: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly name?: string;
  readonly args?: Readonly<Record<string, unknown>>;
}
interface RawSpan {
  readonly startMs: number;
  readonly endMs: number;
  readonly name: number;
  readonly outcome: number;
  readonly taskId: string | undefined;
}

/** Takes a trace line by line, as it arrives, so that a large one does not stop the page. */
export class TimelineBuilder {
  spans = 0;
  private readonly names = new Map<string, number>();
  private readonly outcomes = new Map<string, number>();
  private readonly rows = new Map<string, { pid: number; tid: number; spans: RawSpan[] }>();
  private readonly processNames = new Map<number, string>();
  private readonly processOrder = new Map<number, number>();
  private originMs: number | undefined;
  private note: string | undefined;

  /** One line: the head with what the file says of itself, or one event. */
  addLine(line: string): void {
    if (line.includes('"traceEvents":[')) {
      this.addHead(line);
      return;
    }
    // Flows, waits and submissions are most of a trace, and are not shown here: they are not even parsed.
    if (!(line.includes(`"ph":"X"`) && !line.includes(`"cat":"submit"`)) && !line.includes(`"ph":"M"`)) return;
    const text = line.endsWith(",") ? line.slice(0, -1) : line;
    this.add(JSON.parse(text) as TraceEvent);
  }

  /** A whole file, in whatever lines it is. */
  addFile(text: string): void {
    const file = JSON.parse(text) as
      | { traceEvents?: readonly TraceEvent[]; otherData?: unknown }
      | readonly TraceEvent[];
    const isList = Array.isArray(file);
    if (!isList) this.addOther((file as { otherData?: unknown }).otherData);
    for (const event of isList
      ? (file as readonly TraceEvent[])
      : ((file as { traceEvents?: readonly TraceEvent[] }).traceEvents ?? []))
      this.add(event);
  }

  add({ ph, pid = 0, tid = 0, ts = 0, dur = 0, cat, name = "?", args }: TraceEvent): void {
    if (ph === "M") {
      if (name === "process_name" && typeof args?.name === "string") this.processNames.set(pid, args.name);
      if (name === "process_sort_index" && typeof args?.sort_index === "number")
        this.processOrder.set(pid, args.sort_index);
      return;
    }
    if (ph !== "X" || cat === "submit") return;
    const key = `${pid}.${tid}`;
    let row = this.rows.get(key);
    if (row === undefined) {
      row = { pid, tid, spans: [] };
      this.rows.set(key, row);
    }
    row.spans.push({
      startMs: ts / 1000,
      endMs: (ts + Math.max(1, dur)) / 1000,
      name: indexIn(this.names, name),
      outcome: indexIn(this.outcomes, typeof args?.outcome === "string" ? args.outcome : "ok"),
      taskId: typeof args?.task === "string" ? args.task : undefined,
    });
    this.spans++;
  }

  finish(): Timeline {
    const good = new Set(["ok", "finished"].map((name) => this.outcomes.get(name)));
    // Those of one node are together.
    const order = (pid: number): number => this.processOrder.get(pid) ?? 0;
    const lanes = [...this.rows.values()]
      .sort((a, b) => order(a.pid) - order(b.pid) || a.pid - b.pid || a.tid - b.tid)
      .flatMap(({ pid, tid, spans }) => {
        spans.sort((a, b) => a.startMs - b.startMs);
        const title = this.processNames.get(pid) ?? `pid ${pid}`;
        return separate(spans).map((own, at) =>
          makeLane({ pid, tid, process: title, title: at === 0 && tid <= 1 ? title : "" }, own, good),
        );
      });
    let startMs = Number.POSITIVE_INFINITY;
    let endMs = Number.NEGATIVE_INFINITY;
    for (const lane of lanes) {
      startMs = Math.min(startMs, lane.start[0] ?? startMs);
      endMs = Math.max(endMs, lane.end[lane.count - 1] ?? endMs);
    }
    return {
      lanes,
      names: [...this.names.keys()],
      outcomes: [...this.outcomes.keys()],
      spans: this.spans,
      startMs: lanes.length === 0 ? 0 : startMs,
      endMs: lanes.length === 0 ? 1 : Math.max(endMs, startMs + 0.001),
      originMs: this.originMs,
      note: this.note,
    };
  }

  private addHead(line: string): void {
    const at = line.indexOf('"traceEvents":[');
    const rest = line.slice(at + '"traceEvents":['.length);
    try {
      const head = JSON.parse(`${line.slice(0, at).replace(/,\s*$/, "")}}`) as { otherData?: unknown };
      this.addOther(head.otherData);
    } catch {
      // A head that is not understood: times are then relative, and nothing is said of what was left out.
    }
    if (rest.trim() !== "" && rest.includes('"ph"')) this.addFile(line);
  }

  private addOther(other: unknown): void {
    if (typeof other !== "object" || other === null) return;
    const { startedAt, sampling } = other as { startedAt?: unknown; sampling?: unknown };
    if (typeof startedAt === "string") this.originMs = Date.parse(startedAt);
    if (typeof sampling === "string") this.note = sampling;
  }
}

/** Spans that overlap, of files that are not ours, get lanes of their own. */
function separate(sorted: readonly RawSpan[]): RawSpan[][] {
  const lanes: RawSpan[][] = [];
  const freeFrom: number[] = [];
  for (const span of sorted) {
    let at = freeFrom.findIndex((ms) => ms <= span.startMs + 1e-6);
    if (at < 0) {
      at = lanes.length;
      lanes.push([]);
    }
    freeFrom[at] = span.endMs;
    lanes[at]?.push(span);
  }
  return lanes;
}

function makeLane(
  place: Pick<Lane, "pid" | "tid" | "title" | "process">,
  spans: readonly RawSpan[],
  good: ReadonlySet<number | undefined>,
): Lane {
  const count = spans.length;
  const lane = {
    ...place,
    count,
    start: new Float64Array(count),
    end: new Float64Array(count),
    name: new Uint32Array(count),
    busyBefore: new Float64Array(count + 1),
    failedBefore: new Uint32Array(count + 1),
    outcome: new Uint8Array(count),
    taskIds: spans.map(({ taskId }) => taskId),
  };
  for (const [at, { startMs, endMs, name, outcome }] of spans.entries()) {
    lane.start[at] = startMs;
    lane.end[at] = endMs;
    lane.name[at] = name;
    lane.outcome[at] = outcome;
    lane.busyBefore[at + 1] = (lane.busyBefore[at] as number) + (endMs - startMs);
    lane.failedBefore[at + 1] = (lane.failedBefore[at] as number) + (good.has(outcome) ? 0 : 1);
  }
  return lane;
}

function indexIn(map: Map<string, number>, key: string): number {
  const known = map.get(key);
  if (known !== undefined) return known;
  map.set(key, map.size);
  return map.size - 1;
}
