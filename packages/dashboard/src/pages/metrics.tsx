/** Charts of the past hour, of the cluster and of each node. */
import { type List, listPath } from "../api.ts";
import { Chart } from "../chart.tsx";
import { clock, compact } from "../format.ts";
import { HISTORY_MS, NodeCharts } from "../node-charts.tsx";
import { Card, Empty, Failure } from "../parts.tsx";
import { useParams } from "../router.ts";
import type { History, NodeRow } from "../rows.ts";
import { useQuery } from "../use-query.ts";

export function MetricsPage() {
  const [params, setParams] = useParams();
  const chosen = params.get("node") ?? "";
  const of = chosen === "" ? `limit=${NODES_MAX}` : `node=${encodeURIComponent(chosen)}`;
  const { data, error, refresh } = useQuery<History>(`history?${of}`, HISTORY_MS);
  const { data: list } = useQuery<List<NodeRow>>(listPath("nodes", ["state!=dead"], 1000, { sort: "name" }), 15_000);
  const firstMs = data?.timesMs[0];
  return (
    <div className="page">
      <div className="page-head">
        <h1>Metrics</h1>
        {firstMs !== undefined && <span className="muted">since {clock(firstMs)}, every 10 s; an hour at most</span>}
        <div className="actions">
          <select aria-label="Node" value={chosen} onChange={(event) => setParams({ node: event.target.value })}>
            <option value="">All nodes</option>
            {list?.rows.map(({ nodeId, name }) => (
              <option key={nodeId} value={nodeId}>
                {name}
              </option>
            ))}
          </select>
        </div>
      </div>
      <p className="muted">
        For hours and days let Prometheus ask <code>/metrics</code>.
      </p>
      {error !== undefined && <Failure error={error} hasData={data !== undefined} retry={refresh} />}
      {data !== undefined && firstMs === undefined && (
        <div className="card">
          <Empty title="The first values come in a moment">
            Cores, memory, stores and GPUs of each node, and attempts a second.
          </Empty>
        </div>
      )}
      {data !== undefined && firstMs !== undefined && (
        <div className="charts">
          {chosen === "" && (
            <Card title="Attempts a second" className="wide">
              <AttemptsChart history={data} />
            </Card>
          )}
          {data.nodes.map((node) => (
            <NodeCharts key={node.nodeId} timesMs={data.timesMs} node={node} title={`${node.name} · `} />
          ))}
        </div>
      )}
      {data !== undefined && chosen !== "" && data.nodes.length === 0 && (
        <p className="muted">Nothing is known of this node in the past hour.</p>
      )}
      {data !== undefined && data.nodes.length < data.nodesTotal && (
        <p className="muted">
          The first {data.nodes.length} of {data.nodesTotal} nodes by name; choose one above to see it.
        </p>
      )}
    </div>
  );
}

export function AttemptsChart({ history: { timesMs, finished, failed } }: { history: History }) {
  return (
    <Chart
      label="Attempts a second"
      timesMs={timesMs}
      series={[
        { title: "finished", color: "--run", values: finished, isFilled: true },
        { title: "failed", color: "--bad", values: failed },
      ]}
      format={compact}
    />
  );
}

/** Two charts each: more are slow to look through, too. */
const NODES_MAX = 24;
