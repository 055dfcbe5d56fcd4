/** Which part of a timeline is seen; pure. */
export interface View {
  readonly fromMs: number;
  readonly toMs: number;
  /** Pixels that lanes are scrolled down. */
  readonly top: number;
}
export interface Extent {
  readonly startMs: number;
  readonly endMs: number;
}

/** A microsecond is a few pixels wide at most. */
const SPAN_MS_MIN = 0.05;

export function wholeView({ startMs, endMs }: Extent): View {
  const margin = (endMs - startMs) * 0.01;
  return { fromMs: startMs - margin, toMs: endMs + margin, top: 0 };
}

/** Moves by a share of what is seen; something of the timeline always stays in view. */
export function pan(view: View, share: number, extent: Extent): View {
  const spanMs = view.toMs - view.fromMs;
  const least = extent.startMs - spanMs * 0.9;
  const most = extent.endMs - spanMs * 0.1;
  const fromMs = Math.min(most, Math.max(least, view.fromMs + spanMs * share));
  return { ...view, fromMs, toMs: fromMs + spanMs };
}

/** `factor` below 1 shows less time; what is at `anchor` (0 left, 1 right) stays where it is. */
export function zoom(view: View, factor: number, anchor: number, extent: Extent): View {
  const spanMs = view.toMs - view.fromMs;
  const whole = wholeView(extent);
  const next = Math.min((whole.toMs - whole.fromMs) * 1.5, Math.max(SPAN_MS_MIN, spanMs * factor));
  const atMs = view.fromMs + spanMs * anchor;
  return pan({ ...view, fromMs: atMs - next * anchor, toMs: atMs + next * (1 - anchor) }, 0, extent);
}

export function scroll(view: View, px: number, contentPx: number, boxPx: number): View {
  return { ...view, top: Math.min(Math.max(0, contentPx - boxPx), Math.max(0, view.top + px)) };
}

/** Round steps so that marks are at least `gapPx` apart. */
export function ticks(
  fromMs: number,
  toMs: number,
  widthPx: number,
  gapPx: number,
): { readonly stepMs: number; readonly atMs: readonly number[] } {
  const least = ((toMs - fromMs) * gapPx) / Math.max(1, widthPx);
  const stepMs = niceStep(least);
  const atMs: number[] = [];
  for (let tick = Math.ceil(fromMs / stepMs); tick * stepMs <= toMs && atMs.length < 200; tick++)
    atMs.push(tick * stepMs);
  return { stepMs, atMs };
}

function niceStep(least: number): number {
  if (least <= 1000) {
    const power = 10 ** Math.floor(Math.log10(least));
    for (const factor of [1, 2, 5, 10]) if (factor * power >= least) return factor * power;
  }
  for (const seconds of [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200]) {
    if (seconds * 1000 >= least) return seconds * 1000;
  }
  return Math.ceil(least / 86_400_000) * 86_400_000;
}
