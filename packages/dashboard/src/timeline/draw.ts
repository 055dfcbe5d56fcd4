/** Draws a timeline on a canvas. */
import { clock, duration } from "../format.ts";
import { type Flows, type Timeline, visibleRuns } from "./model.ts";
import { ticks, type View } from "./view.ts";

export const LANE_PX = 20;
export const AXIS_PX = 26;

export interface Colors {
  readonly surface: string;
  readonly line: string;
  readonly text: string;
  readonly muted: string;
  readonly bad: string;
  readonly accent: string;
  readonly font: string;
  readonly isDark: boolean;
}

export interface Size {
  readonly width: number;
  readonly height: number;
  /** Where lanes' names end. */
  readonly left: number;
}

/** No red among them: that is for failures. */
const HUES = [222, 165, 36, 268, 192, 110, 245, 58, 205, 140];
const SHARES = 4;

export function colorOf(name: number, isDark: boolean): string {
  const hue = HUES[name % HUES.length] ?? 0;
  const ring = Math.floor(name / HUES.length) % 2;
  return isDark ? `hsl(${hue} 38% ${ring === 0 ? 54 : 42}%)` : `hsl(${hue} 46% ${ring === 0 ? 62 : 75}%)`;
}

export function draw(
  context: CanvasRenderingContext2D,
  timeline: Timeline,
  view: View,
  size: Size,
  colors: Colors,
  selected: { lane: number; index: number } | undefined,
  flows: Flows | undefined,
): number {
  const { width, height, left } = size;
  const pxPerMs = (width - left) / (view.toMs - view.fromMs);
  context.clearRect(0, 0, width, height);
  context.font = colors.font;
  context.textBaseline = "middle";
  drawAxis(context, timeline, view, size, colors);

  const firstLane = Math.max(0, Math.floor(view.top / LANE_PX));
  const lastLane = Math.min(timeline.lanes.length, Math.ceil((view.top + height - AXIS_PX) / LANE_PX));
  // By colour, so that the canvas changes its state once for each and not for each rectangle.
  const rectangles = new Map<string, number[]>();
  const labels: { text: string; x: number; y: number; width: number }[] = [];
  let drawn = 0;
  context.save();
  context.beginPath();
  context.rect(left, AXIS_PX, width - left, height - AXIS_PX);
  context.clip();
  for (let laneAt = firstLane; laneAt < lastLane; laneAt++) {
    const lane = timeline.lanes[laneAt];
    if (lane === undefined) continue;
    const y = AXIS_PX + laneAt * LANE_PX - view.top + 2;
    visibleRuns(lane, view.fromMs, view.toMs, pxPerMs, (run) => {
      const { x, width: runWidth, name, share, hasFailed, index } = run;
      const step = index >= 0 ? SHARES : Math.max(1, Math.ceil(share * SHARES));
      const key = hasFailed ? "bad" : `${name}.${step}`;
      let list = rectangles.get(key);
      if (list === undefined) {
        list = [];
        rectangles.set(key, list);
      }
      const from = Math.max(x, -2);
      const to = Math.min(x + runWidth, width - left + 2);
      const end = list.length - 4;
      // Pixels side by side become one rectangle.
      if (
        index < 0 &&
        end >= 0 &&
        list[end + 1] === y &&
        Math.abs((list[end] as number) + (list[end + 2] as number) - (left + from)) < 0.01
      ) {
        (list[end + 2] as number) += to - from;
      } else {
        list.push(left + from, y, Math.max(to - from - (to - from > 4 ? 1 : 0), 1), LANE_PX - 4);
        drawn++;
      }
      if (index >= 0 && to - from > 36)
        labels.push({
          text: timeline.names[name] ?? "",
          x: left + from + 5,
          y: y + LANE_PX / 2 - 2,
          width: to - from - 10,
        });
    });
  }
  for (const [key, list] of rectangles) {
    const [name = "0", step = "1"] = key.split(".");
    context.fillStyle = key === "bad" ? colors.bad : colorOf(Number(name), colors.isDark);
    context.globalAlpha = key === "bad" ? 1 : 0.25 + (0.75 * Number(step)) / SHARES;
    for (let at = 0; at < list.length; at += 4) {
      context.fillRect(list[at] as number, list[at + 1] as number, list[at + 2] as number, list[at + 3] as number);
    }
  }
  context.globalAlpha = 1;
  context.fillStyle = colors.isDark ? "#0b0f15" : "#10151c";
  for (const { text, x, y, width: room } of labels.slice(0, LABELS_MAX)) {
    const fits = Math.floor(room / 6.2);
    context.fillText(text.length <= fits ? text : `${text.slice(0, Math.max(1, fits - 1))}…`, x, y);
  }
  const lane = selected === undefined ? undefined : timeline.lanes[selected.lane];
  if (selected !== undefined && lane !== undefined) {
    const x = left + ((lane.start[selected.index] as number) - view.fromMs) * pxPerMs;
    const spanWidth = ((lane.end[selected.index] as number) - (lane.start[selected.index] as number)) * pxPerMs;
    context.strokeStyle = colors.text;
    context.lineWidth = 2;
    context.strokeRect(
      x - 1,
      AXIS_PX + selected.lane * LANE_PX - view.top + 1,
      Math.max(3, spanWidth + 1),
      LANE_PX - 2,
    );
  }
  if (selected !== undefined && flows !== undefined) {
    const place = (laneAt: number, ms: number) => ({
      x: left + (ms - view.fromMs) * pxPerMs,
      y: AXIS_PX + laneAt * LANE_PX - view.top + LANE_PX / 2,
    });
    const startOf = ({ lane: laneAt, index }: { lane: number; index: number }) =>
      place(laneAt, timeline.lanes[laneAt]?.start[index] ?? 0);
    context.strokeStyle = colors.accent;
    context.fillStyle = colors.accent;
    context.lineWidth = 1.5;
    if (flows.from !== undefined) drawArrow(context, place(flows.from.lane, flows.from.ms), startOf(selected));
    context.globalAlpha = 0.6;
    context.lineWidth = 1;
    for (const to of flows.to) {
      const submittedMs = timeline.lanes[to.lane]?.submitted[to.index] ?? 0;
      drawArrow(context, place(selected.lane, submittedMs), startOf(to));
    }
    context.globalAlpha = 1;
  }
  context.restore();
  drawNames(context, timeline, view, size, colors, firstLane, lastLane);
  return drawn;
}
/** From left to right, as time goes. */
function drawArrow(context: CanvasRenderingContext2D, from: Spot, to: Spot): void {
  const bend = Math.min(60, Math.max(12, Math.abs(to.x - from.x) / 2));
  context.beginPath();
  context.arc(from.x, from.y, 2.5, 0, Math.PI * 2);
  context.fill();
  context.beginPath();
  context.moveTo(from.x, from.y);
  context.bezierCurveTo(from.x + bend, from.y, to.x - bend, to.y, to.x, to.y);
  context.stroke();
  context.beginPath();
  context.moveTo(to.x, to.y);
  context.lineTo(to.x - 6, to.y - 3.5);
  context.lineTo(to.x - 6, to.y + 3.5);
  context.fill();
}
interface Spot {
  readonly x: number;
  readonly y: number;
}

/** Text is the slowest to draw. */
const LABELS_MAX = 400;

function drawAxis(
  context: CanvasRenderingContext2D,
  timeline: Timeline,
  view: View,
  { width, height, left }: Size,
  colors: Colors,
): void {
  const { stepMs, atMs } = ticks(view.fromMs, view.toMs, width - left, 96);
  const pxPerMs = (width - left) / (view.toMs - view.fromMs);
  context.fillStyle = colors.line;
  context.fillRect(0, AXIS_PX - 1, width, 1);
  for (const ms of atMs) {
    const x = Math.round(left + (ms - view.fromMs) * pxPerMs);
    if (x < left) continue;
    context.fillStyle = colors.line;
    context.fillRect(x, AXIS_PX - 6, 1, height);
    context.fillStyle = colors.muted;
    context.fillText(tickText(ms, stepMs, timeline.originMs), x + 4, AXIS_PX / 2);
  }
}

function tickText(ms: number, stepMs: number, originMs: number | undefined): string {
  if (originMs !== undefined && stepMs >= 1000) return clock(originMs + ms);
  if (stepMs >= 1) return `${(ms / 1000).toFixed(stepMs >= 1000 ? 0 : stepMs >= 100 ? 1 : stepMs >= 10 ? 2 : 3)} s`;
  return duration(ms);
}

function drawNames(
  context: CanvasRenderingContext2D,
  timeline: Timeline,
  view: View,
  { height, left }: Size,
  colors: Colors,
  firstLane: number,
  lastLane: number,
): void {
  context.fillStyle = colors.surface;
  context.fillRect(0, AXIS_PX, left, height);
  context.fillStyle = colors.line;
  context.fillRect(left - 1, 0, 1, height);
  context.save();
  context.beginPath();
  context.rect(0, AXIS_PX, left - 4, height);
  context.clip();
  for (let at = firstLane; at < lastLane; at++) {
    const title = timeline.lanes[at]?.title ?? "";
    const y = AXIS_PX + at * LANE_PX - view.top;
    if (title === "") continue;
    if (at > 0) {
      context.fillStyle = colors.line;
      context.fillRect(0, y, left, 1);
    }
    context.fillStyle = colors.muted;
    context.fillText(title, 10, y + LANE_PX / 2);
  }
  context.restore();
}
