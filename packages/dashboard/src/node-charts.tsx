/** What the past hour of a node was like. */
import { Chart } from "./chart.tsx";
import { bytes, percent } from "./format.ts";
import { Card } from "./parts.tsx";
import type { History } from "./rows.ts";
import { useQuery } from "./use-query.ts";

/** How often there is something new. */
export const HISTORY_MS = 10_000;

export function NodeCharts({
  timesMs,
  node,
  title = "",
}: {
  timesMs: readonly number[];
  node: History["nodes"][number];
  title?: string;
}) {
  const { name, cpuPercent, gpuPercent, memoryUsedBytes, storeUsedBytes, storeSpilledBytes } = node;
  const hasSpilled = storeSpilledBytes.some((value) => (value ?? 0) > 0);
  return (
    <>
      <Card title={`${title}Cores${gpuPercent === null ? "" : " and GPUs"}`}>
        <Chart
          label={`${name}, busy share`}
          timesMs={timesMs}
          max={100}
          series={[
            { title: "cores", color: "--run", values: cpuPercent, isFilled: true },
            ...(gpuPercent === null ? [] : [{ title: "GPUs", color: "--wait", values: gpuPercent }]),
          ]}
          format={(value) => percent(value)}
        />
      </Card>
      <Card title={`${title}Memory and store`}>
        <Chart
          label={`${name}, memory`}
          timesMs={timesMs}
          series={[
            { title: "machine", color: "--run", values: memoryUsedBytes, isFilled: true },
            { title: "store", color: "--ok", values: storeUsedBytes },
            ...(hasSpilled ? [{ title: "spilled", color: "--wait", values: storeSpilledBytes }] : []),
          ]}
          isBytes
          format={(value) => bytes(Math.round(value))}
        />
      </Card>
    </>
  );
}

/** Of one node, on its page. */
export function PastHour({ nodeId }: { nodeId: string }) {
  const { data } = useQuery<History>(`history?node=${encodeURIComponent(nodeId)}`, HISTORY_MS);
  const node = data?.nodes[0];
  if (data === undefined || node === undefined) return null;
  return (
    <div className="charts">
      <NodeCharts timesMs={data.timesMs} node={node} title="The past hour · " />
    </div>
  );
}
