/** A job's functions and who calls whom, with counts by state, live. */
import { useMemo } from "react";
import { compact, count } from "../format.ts";
import { Empty, Failure } from "../parts.tsx";
import { href } from "../router.ts";
import { type CallGraph, type CallGraphNode, taskStates } from "../rows.ts";
import { useQuery } from "../use-query.ts";
import { BOX_HEIGHT, BOX_WIDTH, layoutGraph, pathOf } from "./layout.ts";

const stateColors: Readonly<Record<string, string>> = {
  waiting: "--wait",
  queued: "--wait",
  running: "--run",
  finished: "--ok",
  failed: "--bad",
  lost: "--bad",
  preempted: "--off",
  cancelled: "--off",
};
/** More boxes than this nobody reads: the functions with the most attempts are shown. */
const BOXES_MAX = 120;
/** A wide graph is made smaller to fit, as long as it can be read; then it scrolls. */
const LEAST_SCALE = 0.8;

/** A driver calls, and is not called: it is in edges only. */
function withCallers(graph: CallGraph | undefined): CallGraphNode[] {
  if (graph === undefined) return [];
  const known = new Set(graph.nodes.map(({ name }) => name));
  const callers = new Set(graph.edges.map(({ from }) => from).filter((name) => !known.has(name)));
  return [...graph.nodes, ...[...callers].map((name) => ({ name, kind: "caller", counts: {} }))];
}

/** Those who call the others stand in the middle. */
function centre(box: HTMLElement | null): void {
  if (box !== null) box.scrollLeft = (box.scrollWidth - box.clientWidth) / 2;
}

const total = ({ counts }: CallGraphNode) => Object.values(counts).reduce((sum, n) => sum + n, 0);

export default function GraphView({ job }: { job: string }) {
  const { data, error, refresh } = useQuery<CallGraph>(`graph?job=${encodeURIComponent(job)}`, 2000);
  const nodes = useMemo(
    () =>
      withCallers(data)
        .sort((a, b) => total(b) - total(a))
        .slice(0, BOXES_MAX),
    [data],
  );
  const edges = data?.edges ?? [];
  // The places change only when functions or calls between them do: counts move nothing.
  const shape = JSON.stringify([nodes.map(({ name }) => name).sort(), edges.map(({ from, to }) => [from, to]).sort()]);
  const layout = useMemo(() => {
    const [names, pairs] = JSON.parse(shape) as [string[], [string, string][]];
    return { ...layoutGraph({ names, edges: pairs.map(([from, to]) => ({ from, to })) }), pairs };
  }, [shape]);
  const counts = new Map(edges.map(({ from, to, count: calls }) => [`${from}\0${to}`, calls]));
  const most = Math.max(1, ...counts.values());

  if (data === undefined) {
    return error === undefined ? (
      <div className="skeleton">Loading…</div>
    ) : (
      <Failure error={error} hasData={false} retry={refresh} />
    );
  }
  if (data.nodes.length === 0) {
    return (
      <div className="card">
        <Empty title="No function has run">
          When this job calls remote functions or actors, they show here, callers above.
        </Empty>
      </div>
    );
  }
  return (
    <>
      {error !== undefined && <Failure error={error} hasData retry={refresh} />}
      <div className="legend">
        {(
          [
            ["waits", "--wait"],
            ["runs", "--run"],
            ["finished", "--ok"],
            ["failed or lost", "--bad"],
            ["cancelled, preempted", "--off"],
          ] as const
        ).map(([name, color]) => (
          <span key={name}>
            <span className="swatch" style={{ color: `var(${color})` }} />
            {name}
          </span>
        ))}
        {data.nodes.length > BOXES_MAX && (
          <span>
            the {BOXES_MAX} functions with the most attempts, of {count(data.nodes.length)}
          </span>
        )}
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard */}
      <section className="graph" ref={centre} tabIndex={0} aria-label="Functions and their calls">
        <svg
          style={{ width: layout.width, minWidth: layout.width * LEAST_SCALE }}
          viewBox={`0 0 ${layout.width} ${layout.height}`}
        >
          <title>Functions and their calls</title>
          <defs>
            <marker
              id="arrow"
              viewBox="0 0 8 8"
              refX="7"
              refY="4"
              markerWidth="9"
              markerHeight="9"
              markerUnits="userSpaceOnUse"
              orient="auto-start-reverse"
            >
              <path className="arrow" d="M0 0L8 4L0 8z" />
            </marker>
          </defs>
          {layout.pairs.map(([from, to], index) => {
            const calls = counts.get(`${from}\0${to}`) ?? 0;
            return (
              <path
                key={`${from}\0${to}`}
                className="edge"
                d={pathOf(layout.paths[index] ?? [])}
                strokeWidth={1 + (1.6 * Math.log10(calls + 1)) / Math.log10(most + 1)}
                markerEnd="url(#arrow)"
              >
                <title>
                  {from} called {to} {count(calls)} times
                </title>
              </path>
            );
          })}
          {nodes.map((node) => {
            const place = layout.places.get(node.name);
            return place === undefined ? null : (
              <Box
                key={node.name}
                node={node}
                job={job}
                x={place.x - BOX_WIDTH / 2}
                y={place.y - BOX_HEIGHT / 2}
                total={total(node)}
              />
            );
          })}
        </svg>
      </section>
    </>
  );
}

function Box({ node, job, x, y, total }: { node: CallGraphNode; job: string; x: number; y: number; total: number }) {
  const { name, kind, counts } = node;
  const inner = BOX_WIDTH - 20;
  let at = 0;
  const parts = taskStates.flatMap((state) => {
    const n = counts[state] ?? 0;
    if (n === 0 || total === 0) return [];
    const width = Math.max(2, (n / total) * inner);
    const part = { state, n, at, width: Math.min(width, inner - at) };
    at += part.width;
    return part.width > 0 ? [part] : [];
  });
  const words = parts.map(({ state, n }) => `${count(n)} ${state}`).join(", ");
  const running = counts.running ?? 0;
  const waiting = (counts.waiting ?? 0) + (counts.queued ?? 0);
  const failed = (counts.failed ?? 0) + (counts.lost ?? 0);
  const brief = [
    running > 0 ? `${compact(running)} run` : "",
    waiting > 0 ? `${compact(waiting)} wait` : "",
    failed > 0 ? `${compact(failed)} failed` : "",
  ].filter(Boolean);
  const filters = [`name=${name}`, ...(job === "" ? [] : [`jobId=${job}`])];
  return (
    <a href={href(["tasks"], { filter: filters })}>
      <rect className="box" x={x} y={y} width={BOX_WIDTH} height={BOX_HEIGHT} rx={7}>
        <title>{words}</title>
      </rect>
      <text x={x + 10} y={y + 19} fontWeight={600}>
        {name.length > 25 ? `${name.slice(0, 24)}…` : name}
      </text>
      <text className="sub" x={x + 10} y={y + 34}>
        {kind === "caller" ? "calls" : [compact(total), ...brief.slice(-2)].join(" · ")}
      </text>
      <rect x={x + 10} y={y + 41} width={inner} height={5} rx={2} fill="var(--off-soft)" />
      {parts.map(({ state, at: from, width }) => (
        <rect
          key={state}
          x={x + 10 + from}
          y={y + 41}
          width={width}
          height={5}
          fill={`var(${stateColors[state] ?? "--off"})`}
        />
      ))}
    </a>
  );
}
