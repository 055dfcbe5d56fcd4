/** What ran when, in a lane for each process: zoom, pan, and a click for what a span was. */
import { type KeyboardEvent, type PointerEvent, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { ApiError } from "../api.ts";
import { absolute, count, duration } from "../format.ts";
import { Empty, Failure, State } from "../parts.tsx";
import { href, useParams } from "../router.ts";
import { useTheme } from "../theme.ts";
import { AXIS_PX, type Colors, colorOf, draw, LANE_PX, type Size } from "./draw.ts";
import { loadTimeline } from "./load.ts";
import { type Flows, flowsOf, type Span, spanAt, spanOf, type Timeline } from "./model.ts";
import { pan, scroll, type View, wholeView, zoom } from "./view.ts";

export default function TimelineView({ job }: { job: string }) {
  const [loaded, setLoaded] = useState<{ timeline?: Timeline; error?: ApiError; spans: number; isLoading: boolean }>({
    spans: 0,
    isLoading: true,
  });
  const [round, setRound] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new round loads the same job again
  useEffect(() => {
    const abort = new AbortController();
    setLoaded((old) => ({ ...old, isLoading: true }));
    loadTimeline(job, abort.signal, {
      onProgress: (spans) => setLoaded((old) => ({ ...old, spans })),
      onFirst: (timeline) => setLoaded((old) => (old.timeline === undefined ? { ...old, timeline } : old)),
    })
      .then((timeline) => setLoaded({ timeline, spans: timeline.spans, isLoading: false }))
      .catch((error: unknown) => {
        if (abort.signal.aborted) return;
        const shown = error instanceof ApiError ? error : new ApiError(0, "INTERNAL", String(error));
        setLoaded((old) => ({ ...old, error: shown, isLoading: false }));
      });
    return () => abort.abort();
  }, [job, round]);
  const { timeline, error, spans, isLoading } = loaded;
  if (timeline === undefined) {
    return error === undefined ? (
      <div className="skeleton" role="status">
        Loading… {spans > 0 && `${count(spans)} spans`}
      </div>
    ) : (
      <Failure error={error} hasData={false} retry={() => setRound(round + 1)} />
    );
  }
  if (timeline.lanes.length === 0) {
    return (
      <div className="card">
        <Empty title="Nothing has ended yet">
          Attempts show here when they end. The file itself, for Perfetto: <code>mobula timeline -o trace.json</code>
        </Empty>
      </div>
    );
  }
  return (
    <>
      {error !== undefined && <Failure error={error} hasData retry={() => setRound(round + 1)} />}
      <Canvas
        timeline={timeline}
        reload={() => setRound(round + 1)}
        loading={isLoading ? `older ones are on their way, ${count(spans)} spans so far` : undefined}
      />
    </>
  );
}

interface Hover {
  readonly span: Span;
  readonly x: number;
  readonly y: number;
}

function Canvas({
  timeline,
  reload,
  loading,
}: {
  timeline: Timeline;
  reload: () => void;
  /** What is still to come, in words. */
  loading: string | undefined;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [params, setParams] = useParams();
  const view = useRef<View>(readView(params.get("t")) ?? wholeView(timeline));
  const size = useRef<Size>({ width: 800, height: 400, left: 120 });
  const colors = useRef<Colors | undefined>(undefined);
  const frame = useRef(0);
  const [hover, setHover] = useState<Hover | undefined>(undefined);
  const [selected, setSelected] = useState<Span | undefined>(undefined);
  const chosen = useRef<Span | undefined>(undefined);
  const flows = useMemo(() => (selected === undefined ? undefined : flowsOf(timeline, selected)), [timeline, selected]);
  chosen.current = selected;
  const arrows = useRef<Flows | undefined>(undefined);
  arrows.current = flows;
  const { resolved } = useTheme();
  const urlTimer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);

  // The part that the URL names: of a link, or of a step back.
  const written = useRef<string | null>(params.get("t"));
  const asked = params.get("t");

  const paint = useCallback(() => {
    frame.current = 0;
    const context = canvas.current?.getContext("2d");
    if (context == null || colors.current === undefined) return;
    draw(context, timeline, view.current, size.current, colors.current, chosen.current, arrows.current);
  }, [timeline]);
  const repaint = useCallback(() => {
    if (frame.current === 0) frame.current = requestAnimationFrame(paint);
  }, [paint]);
  const show = useCallback(
    (next: View) => {
      view.current = next;
      repaint();
      clearTimeout(urlTimer.current);
      urlTimer.current = setTimeout(() => {
        written.current = `${round(next.fromMs)},${round(next.toMs)},${Math.round(next.top)}`;
        setParams({ t: written.current });
      }, URL_MS);
    },
    [repaint, setParams],
  );
  // What was selected is another span, or none, where more has come; who has not moved sees all of it.
  const shown = useRef(timeline);
  useEffect(() => {
    if (shown.current === timeline) return;
    shown.current = timeline;
    setSelected(undefined);
    if (written.current === null) view.current = wholeView(timeline);
    repaint();
  }, [timeline, repaint]);
  useEffect(() => {
    if (asked === written.current) return;
    written.current = asked;
    view.current = readView(asked) ?? wholeView(timeline);
    repaint();
  }, [asked, timeline, repaint]);
  const lanesPx = timeline.lanes.length * LANE_PX + 4;
  const moveLanes = useCallback(
    (px: number) => scroll(view.current, px, lanesPx, size.current.height - AXIS_PX),
    [lanesPx],
  );

  useEffect(() => {
    const element = canvas.current;
    if (element === null) return;
    colors.current = readColors(element, resolved === "dark");
    const resize = () => {
      const { clientWidth: width, clientHeight: height } = element;
      const scale = Math.min(2, devicePixelRatio);
      element.width = Math.round(width * scale);
      element.height = Math.round(height * scale);
      element.getContext("2d")?.setTransform(scale, 0, 0, scale, 0, 0);
      size.current = { width, height, left: width < 600 ? 92 : 132 };
      view.current = scroll(view.current, 0, lanesPx, height - AXIS_PX);
      paint();
    };
    const observer = new ResizeObserver(resize);
    observer.observe(element);
    // React's listeners of wheels are passive: they cannot keep the page from scrolling.
    const onWheel = (event: WheelEvent) => {
      event.preventDefault();
      const isTall = lanesPx > size.current.height - AXIS_PX;
      const unit = event.deltaMode === 1 ? 16 : 1;
      if (event.ctrlKey || event.metaKey || (!isTall && !event.shiftKey && event.deltaX === 0)) {
        const anchor = (event.offsetX - size.current.left) / (size.current.width - size.current.left);
        show(zoom(view.current, Math.exp(event.deltaY * unit * 0.0022), Math.min(1, Math.max(0, anchor)), timeline));
        return;
      }
      const sideways = event.deltaX + (event.shiftKey ? event.deltaY : 0);
      if (sideways !== 0)
        show(pan(view.current, (sideways * unit) / (size.current.width - size.current.left), timeline));
      if (!event.shiftKey && event.deltaY !== 0) show(moveLanes(event.deltaY * unit));
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => {
      observer.disconnect();
      element.removeEventListener("wheel", onWheel);
      cancelAnimationFrame(frame.current);
      frame.current = 0;
      clearTimeout(urlTimer.current);
    };
  }, [timeline, resolved, paint, show, moveLanes, lanesPx]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is selected is drawn
  useEffect(repaint, [selected, repaint]);

  const under = (x: number, y: number): Span | undefined => {
    const { left, width } = size.current;
    const lane = Math.floor((y - AXIS_PX + view.current.top) / LANE_PX);
    const row = timeline.lanes[lane];
    if (row === undefined || y < AXIS_PX || x < left) return undefined;
    const msPerPx = (view.current.toMs - view.current.fromMs) / (width - left);
    const index = spanAt(row, view.current.fromMs + (x - left) * msPerPx, msPerPx * 2);
    return index === undefined ? undefined : spanOf(timeline, lane, index);
  };

  // Fingers or the mouse that are down: one moves the view, two zoom it.
  const pointers = useRef(new Map<number, { x: number; y: number }>());
  const moved = useRef(0);
  const onPointerDown = (event: PointerEvent<HTMLElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    pointers.current.set(event.pointerId, place(event));
    moved.current = 0;
    setHover(undefined);
  };
  const onPointerMove = (event: PointerEvent<HTMLElement>) => {
    const now = place(event);
    const before = pointers.current.get(event.pointerId);
    if (before === undefined) {
      const span = event.pointerType === "mouse" ? under(now.x, now.y) : undefined;
      setHover(span === undefined ? undefined : { span, ...now });
      return;
    }
    const { left, width } = size.current;
    const others = [...pointers.current].filter(([id]) => id !== event.pointerId);
    pointers.current.set(event.pointerId, now);
    moved.current += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
    const other = others[0]?.[1];
    if (other !== undefined) {
      const apartBefore = Math.max(20, Math.hypot(before.x - other.x, before.y - other.y));
      const apart = Math.max(20, Math.hypot(now.x - other.x, now.y - other.y));
      const anchor = ((now.x + other.x) / 2 - left) / (width - left);
      show(zoom(view.current, apartBefore / apart, Math.min(1, Math.max(0, anchor)), timeline));
      return;
    }
    view.current = moveLanes(before.y - now.y);
    show(pan(view.current, (before.x - now.x) / (width - left), timeline));
  };
  const onPointerUp = (event: PointerEvent<HTMLElement>) => {
    const wasDown = pointers.current.delete(event.pointerId);
    if (!wasDown || moved.current > 4) return;
    const { x, y } = place(event);
    setSelected(under(x, y));
  };

  const select = (lane: number, index: number) => {
    const span = spanOf(timeline, lane, index);
    if (span === undefined) return;
    setSelected(span);
    const spanMs = view.current.toMs - view.current.fromMs;
    let next = view.current;
    if (span.endMs < next.fromMs || span.startMs > next.toMs) {
      next = { ...next, fromMs: span.startMs - spanMs / 3, toMs: span.startMs + (spanMs * 2) / 3 };
    }
    const y = lane * LANE_PX - next.top;
    const room = size.current.height - AXIS_PX - LANE_PX;
    if (y < 0 || y > room) next = { ...next, top: Math.max(0, lane * LANE_PX - room / 2) };
    show(next);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 0.5 : 0.1;
    // Lanes of those who only submit have no spans.
    const laneFrom = (from: number, by: number): number => {
      let at = from;
      while (timeline.lanes[at]?.count === 0) at += by;
      return at;
    };
    const { lane = laneFrom(0, 1), index = -1 } = selected ?? {};
    const actions = new Map<string, () => void>([
      ["ArrowLeft", () => show(pan(view.current, -far, timeline))],
      ["ArrowRight", () => show(pan(view.current, far, timeline))],
      ["ArrowUp", () => show(moveLanes(-LANE_PX * 3))],
      ["ArrowDown", () => show(moveLanes(LANE_PX * 3))],
      ["PageUp", () => show(moveLanes(-size.current.height + AXIS_PX))],
      ["PageDown", () => show(moveLanes(size.current.height - AXIS_PX))],
      ["+", () => show(zoom(view.current, 1 / 1.5, 0.5, timeline))],
      ["=", () => show(zoom(view.current, 1 / 1.5, 0.5, timeline))],
      ["-", () => show(zoom(view.current, 1.5, 0.5, timeline))],
      ["Home", () => show(wholeView(timeline))],
      ["0", () => show(wholeView(timeline))],
      [".", () => select(lane, index + 1)],
      [",", () => select(lane, index - 1)],
      [">", () => select(laneFrom(lane + 1, 1), 0)],
      ["<", () => select(laneFrom(lane - 1, -1), 0)],
      ["Escape", () => setSelected(undefined)],
    ]);
    const action = actions.get(event.key);
    if (action === undefined) return;
    event.preventDefault();
    action();
  };

  return (
    <>
      <div className="filters">
        <button
          type="button"
          className="button"
          aria-label="Zoom in"
          onClick={() => show(zoom(view.current, 1 / 2, 0.5, timeline))}
        >
          +
        </button>
        <button
          type="button"
          className="button"
          aria-label="Zoom out"
          onClick={() => show(zoom(view.current, 2, 0.5, timeline))}
        >
          −
        </button>
        <button type="button" className="button" onClick={() => show(wholeView(timeline))}>
          Fit
        </button>
        <button type="button" className="button" onClick={reload}>
          Reload
        </button>
        <span className="legend">
          {timeline.names.slice(0, LEGEND_MAX).map((name, at) => (
            <span key={name}>
              <span className="swatch" style={{ color: colorOf(at, resolved === "dark") }} />
              {name}
            </span>
          ))}
          {timeline.names.length > LEGEND_MAX && <span>and {timeline.names.length - LEGEND_MAX} more</span>}
          <span>
            <span className="swatch" style={{ color: "var(--bad)" }} />
            failed
          </span>
        </span>
      </div>
      <div className="timeline">
        <div
          // biome-ignore lint/a11y/noNoninteractiveTabindex: an application takes keys
          tabIndex={0}
          role="application"
          aria-label={`Timeline: ${count(timeline.spans)} spans in ${count(timeline.lanes.length)} lanes over ${duration(timeline.endMs - timeline.startMs)}. Arrows move, plus and minus zoom, 0 shows all, comma and full stop go from span to span, < and > from lane to lane. The list of attempts has the same as a table.`}
          onPointerDown={onPointerDown}
          onPointerMove={onPointerMove}
          onPointerUp={onPointerUp}
          onPointerCancel={(event) => pointers.current.delete(event.pointerId)}
          onPointerLeave={() => setHover(undefined)}
          onKeyDown={onKeyDown}
        >
          <canvas ref={canvas} />
        </div>
        {hover !== undefined && (
          <div
            className="tooltip"
            style={{
              left: Math.min(hover.x + 14, Math.max(0, size.current.width - 240)),
              top: hover.y + 90 > size.current.height ? hover.y - 62 : hover.y + 16,
            }}
          >
            <strong>{hover.span.name}</strong>
            <br />
            <span className="muted">
              {duration(hover.span.endMs - hover.span.startMs)} · {hover.span.outcome}
            </span>
          </div>
        )}
      </div>
      <div className="small" role="status">
        {selected === undefined ? (
          <span className="muted">
            {count(timeline.spans)} spans in {count(timeline.lanes.length)} lanes
            {loading !== undefined ? `: ${loading}` : timeline.note === undefined ? "" : `: ${timeline.note}`}. Drag or
            arrows move, Ctrl and wheel or + − zoom, a click selects.
          </span>
        ) : (
          <span className="filters">
            <strong>{selected.name}</strong>
            <State
              state={selected.outcome === "ok" ? "finished" : selected.outcome}
              tone={isGood(selected.outcome) ? "ok" : "bad"}
            />
            <span>ran {duration(selected.endMs - selected.startMs)}</span>
            <span className="muted">
              {timeline.originMs === undefined
                ? `from ${duration(selected.startMs)}`
                : `from ${absolute(timeline.originMs + selected.startMs)}`}{" "}
              in {timeline.lanes[selected.lane]?.process}
            </span>
            {flows?.from !== undefined && (
              <span className="muted">submitted by {timeline.lanes[flows.from.lane]?.process}</span>
            )}
            {flows !== undefined && flows.total > 0 && (
              <span className="muted">
                its process submitted {count(flows.total)} meanwhile
                {flows.to.length < flows.total && `, ${count(flows.to.length)} with arrows`}
              </span>
            )}
            {selected.taskId !== undefined && <a href={href(["tasks", selected.taskId])}>Open the task →</a>}
          </span>
        )}
      </div>
    </>
  );
}
const LEGEND_MAX = 8;
/** The URL follows when the view rests. */
const URL_MS = 300;

const isGood = (outcome: string) => outcome === "ok" || outcome === "finished";
const round = (ms: number) => Math.round(ms * 1000) / 1000;
function place({ nativeEvent }: PointerEvent<HTMLElement>): { x: number; y: number } {
  return { x: nativeEvent.offsetX, y: nativeEvent.offsetY };
}

function readView(text: string | null): View | undefined {
  const [fromMs = Number.NaN, toMs = Number.NaN, top = 0] = (text ?? "").split(",").map(Number);
  return Number.isFinite(fromMs) && Number.isFinite(toMs) && toMs > fromMs
    ? { fromMs, toMs, top: top || 0 }
    : undefined;
}

/** Variables may hold light-dark(): a canvas needs what an element computes from them. */
function readColors(near: HTMLElement, isDark: boolean): Colors {
  const probe = document.createElement("i");
  near.parentElement?.append(probe);
  const read = (name: string) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const colors = {
    surface: read("--surface"),
    line: read("--line"),
    text: read("--text"),
    muted: read("--muted"),
    bad: read("--bad"),
    accent: read("--accent"),
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    isDark,
  };
  probe.remove();
  return colors;
}
