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
  /** Of its process, as submitters are named. */
  readonly processIndex: number;
  /** The process that submitted each, -1 where that is not known, and when. */
  readonly submitter: Int32Array;
  readonly submitted: Float64Array;
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

/** From where a span was submitted, and the spans that its process submitted while it ran. */
export interface Flows {
  readonly from: { readonly lane: number; readonly ms: number } | undefined;
  /** The first {@link FLOWS_MAX} of them. */
  readonly to: readonly { readonly lane: number; readonly index: number }[];
  readonly total: number;
}
const FLOWS_MAX = 200;

export function flowsOf({ lanes }: Timeline, { lane: laneAt, index }: Pick<Span, "lane" | "index">): Flows {
  const own = lanes[laneAt];
  const to: { lane: number; index: number }[] = [];
  let total = 0;
  if (own === undefined || index >= own.count) return { from: undefined, to, total };
  const [startMs, endMs] = [own.start[index] as number, own.end[index] as number];
  for (const [lane, { submitter, submitted, count }] of lanes.entries()) {
    for (let at = 0; at < count; at++) {
      if (submitter[at] !== own.processIndex) continue;
      const ms = submitted[at] as number;
      if (ms < startMs || ms > endMs) continue;
      total++;
      if (to.length < FLOWS_MAX) to.push({ lane, index: at });
    }
  }
  const by = own.submitter[index] as number;
  const ms = own.submitted[index] as number;
  const ofSubmitter = lanes.flatMap(({ processIndex }, lane) => (processIndex === by ? [lane] : []));
  // Of several lanes of the process the one that ran something then.
  const lane =
    ofSubmitter.find((at) => {
      const span = spanAt(lanes[at] as Lane, ms, 0);
      return span !== undefined;
    }) ?? ofSubmitter[0];
  return { from: lane === undefined ? undefined : { lane, ms }, to, total };
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
  readonly submitter: number;
  readonly submittedMs: number;
}
interface Process {
  readonly index: number;
  readonly pid: number;
  name: string;
  order: number;
}

/** What a piece of a trace says of what is not in it. */
export interface PieceInfo {
  /** Of the next piece, which is older. */
  readonly next: string | undefined;
  /** Attempts that the service keeps. */
  readonly kept: number | undefined;
}

/**
 * Takes a trace line by line, as it arrives, so that a large one does not stop the page; or several, each after
 * {@link nextPiece}, that are pieces of one.
 */
export class TimelineBuilder {
  spans = 0;
  info: PieceInfo = { next: undefined, kept: undefined };
  private readonly names = new Map<string, number>();
  private readonly outcomes = new Map<string, number>();
  private readonly rows = new Map<string, { process: Process; tid: number; spans: RawSpan[] }>();
  /** By node and pid, where the trace says them: the numbers of two pieces need not be the same. */
  private readonly processes = new Map<string, Process>();
  private numbers = new Map<number, Process>();
  private originMs: number | undefined;
  /** From the origin of the first piece to that of this one. */
  private shiftMs = 0;
  private submission: { readonly process: Process; readonly ms: number } | undefined;
  private note: string | undefined;

  /** What comes now is another file. */
  nextPiece(): void {
    this.numbers = new Map();
    this.shiftMs = 0;
    this.submission = undefined;
    this.info = { next: undefined, kept: undefined };
  }

  /** One line: the head with what the file says of itself, or one event. */
  addLine(line: string): void {
    if (line.includes('"traceEvents":[')) {
      this.addHead(line);
      return;
    }
    const [, pid, ts] = SUBMISSION.exec(line) ?? [];
    if (pid !== undefined) this.addSubmission(Number(pid), Number(ts));
    // The rest of flows, waits and submissions are most of a trace, and are not shown here: they are not even parsed.
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
      if (name === "process_name" && typeof args?.name === "string") this.nameProcess(pid, args.name, args);
      if (name === "process_sort_index" && typeof args?.sort_index === "number")
        this.processOf(pid).order = args.sort_index;
      return;
    }
    if (ph === "s" && name === "submitted") this.addSubmission(pid, ts);
    if (ph !== "X" || cat === "submit") return;
    const process = this.processOf(pid);
    const key = `${process.index}.${tid}`;
    let row = this.rows.get(key);
    if (row === undefined) {
      row = { process, tid, spans: [] };
      this.rows.set(key, row);
    }
    row.spans.push({
      startMs: ts / 1000 + this.shiftMs,
      endMs: (ts + Math.max(1, dur)) / 1000 + this.shiftMs,
      name: indexIn(this.names, name),
      outcome: indexIn(this.outcomes, typeof args?.outcome === "string" ? args.outcome : "ok"),
      taskId: typeof args?.task === "string" ? args.task : undefined,
      submitter: this.submission?.process.index ?? -1,
      submittedMs: this.submission?.ms ?? Number.NaN,
    });
    this.submission = undefined;
    this.spans++;
  }

  /** An arrow begins: the run that it leads to comes next. */
  private addSubmission(pid: number, ts: number): void {
    this.submission = { process: this.processOf(pid), ms: ts / 1000 + this.shiftMs };
  }

  private processOf(pid: number): Process {
    return this.numbers.get(pid) ?? this.nameProcess(pid, `pid ${pid}`, {});
  }

  private nameProcess(number: number, name: string, { node, pid }: Readonly<Record<string, unknown>>): Process {
    const key = typeof node === "string" ? `${node} ${pid}` : `${number}`;
    let process = this.processes.get(key);
    if (process === undefined) {
      process = { index: this.processes.size, pid: typeof pid === "number" ? pid : number, name, order: 0 };
      this.processes.set(key, process);
    }
    // A piece with processes of several nodes says which one it is of.
    if (name.length > process.name.length || /^pid \d+$/.test(process.name)) process.name = name;
    this.numbers.set(number, process);
    return process;
  }

  finish(): Timeline {
    const good = new Set(["ok", "finished"].map((name) => this.outcomes.get(name)));
    const rows = [...this.rows.values()];
    // Those who only submit, as drivers do, have a lane for their arrows.
    const [shown, submitters] = [new Set(rows.map(({ process }) => process)), new Set<number>()];
    for (const { spans } of rows) for (const { submitter } of spans) submitters.add(submitter);
    for (const process of this.processes.values())
      if (submitters.has(process.index) && !shown.has(process)) rows.push({ process, tid: 0, spans: [] });
    // Those of one node are together.
    const lanes = rows
      .sort(
        ({ process: a, tid: tidOfA }, { process: b, tid: tidOfB }) =>
          a.order - b.order || a.pid - b.pid || a.index - b.index || tidOfA - tidOfB,
      )
      .flatMap(({ process: { index: processIndex, pid, name }, tid, spans }) => {
        spans.sort((a, b) => a.startMs - b.startMs);
        const parts = spans.length === 0 ? [[]] : separate(spans);
        return parts.map((own, at) =>
          makeLane({ pid, tid, process: name, title: at === 0 && tid <= 1 ? name : "", processIndex }, own, good),
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
    const { startedAt, originMs, sampling, next, kept } = other as Readonly<Record<string, unknown>>;
    const origin =
      typeof originMs === "number" ? originMs : typeof startedAt === "string" ? Date.parse(startedAt) : undefined;
    if (origin !== undefined) {
      this.originMs ??= origin;
      this.shiftMs = origin - this.originMs;
    }
    if (typeof sampling === "string") this.note ??= sampling;
    this.info = {
      next: typeof next === "string" ? next : undefined,
      kept: typeof kept === "number" ? kept : undefined,
    };
  }
}

const SUBMISSION = /^\{"ph":"s","pid":(\d+),"tid":\d+,"ts":(-?\d+),.*"name":"submitted"/;

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
  place: Pick<Lane, "pid" | "tid" | "title" | "process" | "processIndex">,
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
    submitter: Int32Array.from(spans, ({ submitter }) => submitter),
    submitted: Float64Array.from(spans, ({ submittedMs }) => submittedMs),
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
