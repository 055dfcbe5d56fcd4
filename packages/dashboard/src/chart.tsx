/** A line chart (uPlot) in the colours of the theme. */
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clock } from "./format.ts";
import { useTheme } from "./theme.ts";

export interface Series {
  readonly title: string;
  /** A variable of the style sheet, as `--run`. */
  readonly color: string;
  readonly values: readonly (number | null)[];
  readonly isFilled?: boolean;
}

export interface ChartProps {
  readonly label: string;
  readonly timesMs: readonly number[];
  readonly series: readonly Series[];
  readonly height?: number;
  /** The top of the scale at least. */
  readonly max?: number;
  /** Marks of the scale are then powers of two. */
  readonly isBytes?: boolean;
  format(value: number): string;
}

export function Chart({ label, timesMs, series, height = 150, max = 0, isBytes = false, format }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const { resolved } = useTheme();
  const shape = `${series.map(({ title, color }) => title + color).join("|")} ${resolved} ${height}`;
  const latest = useRef({ series, max, format, height, isBytes });
  latest.current = { series, max, format, height, isBytes };

  // biome-ignore lint/correctness/useExhaustiveDependencies: `shape` names what the plot is made of; values are set below
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const made = makePlot(element, latest);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [shape]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a plot that was made anew needs its values again
  useEffect(() => {
    plot.current?.setData([timesMs.map((ms) => ms / 1000), ...series.map(({ values }) => [...values])]);
  }, [timesMs, series, shape]);

  const last = series.map(({ title, values }) => {
    const value = values.findLast((one) => one !== null);
    return `${title} ${value == null ? "unknown" : format(value)}`;
  });
  return (
    <figure>
      <div ref={box} className="chart" role="img" aria-label={`${label}: now ${last.join(", ")}`} style={{ height }} />
      {series.length > 1 && (
        <figcaption className="legend">
          {series.map(({ title, color, values }) => {
            const value = values.findLast((one) => one !== null);
            return (
              <span key={title}>
                <span className="swatch" style={{ color: `var(${color})` }} />
                {title} {value == null ? "" : format(value)}
              </span>
            );
          })}
        </figcaption>
      )}
    </figure>
  );
}

type Latest = { readonly current: Required<Pick<ChartProps, "series" | "max" | "format" | "height" | "isBytes">> };

function makePlot(element: HTMLElement, latest: Latest): uPlot {
  const style = getComputedStyle(element);
  const probe = document.createElement("i");
  element.append(probe);
  // A variable may hold light-dark(): the colour that a canvas can use is what an element computes from it.
  const color = (name: string) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const grid = { stroke: color("--line"), width: 1 };
  const font = `11px ${style.fontFamily}`;
  const axis = { stroke: color("--muted"), font, grid, ticks: { show: false } };
  const made = new uPlot(
    {
      width: Math.max(element.clientWidth, 100),
      height: latest.current.height,
      padding: [8, 8, 0, 0],
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      legend: { show: false },
      scales: {
        // Of two values only a few pixels would be known: a minute is the least that is shown.
        x: { range: (_plot, first, last) => [Math.min(first, last - 60), last] },
        y: { range: (_plot, _min, top) => [0, Math.max(top * 1.1, latest.current.max, 1e-9)] },
      },
      axes: [
        { ...axis, size: 24, space: 80, values: (_plot, ticks) => ticks.map((tick) => clock(tick * 1000)) },
        {
          ...axis,
          size: 62,
          space: 34,
          ...(latest.current.isBytes ? { incrs: POWERS } : {}),
          values: (_plot, ticks) => ticks.map((tick) => latest.current.format(tick)),
        },
      ],
      series: [
        {},
        ...latest.current.series.map(({ title, color: name, isFilled }) => ({
          label: title,
          stroke: color(name),
          width: 1.5,
          points: { show: false },
          ...(isFilled === true ? { fill: translucent(color(name)) } : {}),
        })),
      ],
    },
    [[], ...latest.current.series.map(() => [])],
    element,
  );
  probe.remove();
  return made;
}

const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);

function translucent(color: string): string {
  return color.replace(/^rgb\((.*)\)$/, "rgba($1, 0.12)");
}
