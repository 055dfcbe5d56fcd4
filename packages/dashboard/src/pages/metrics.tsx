/** Charts of the last minutes, of the cluster and of each node. */
import { useSyncExternalStore } from "react";
import { Chart } from "../chart.tsx";
import { bytes, clock, compact, percent } from "../format.ts";
import { history } from "../node-history.ts";
import { Card, Empty } from "../parts.tsx";
import { useParams } from "../router.ts";

export function MetricsPage() {
  const { timesMs, nodes, rates } = useSyncExternalStore(history.subscribe, history.get);
  const [params, setParams] = useParams();
  const chosen = params.get("node") ?? "";
  const shown = nodes.filter(({ nodeId }) => chosen === "" || nodeId === chosen);
  return (
    <div className="page">
      <div className="page-head">
        <h1>Metrics</h1>
        {timesMs[0] !== undefined && (
          <span className="muted">
            since {clock(timesMs[0])}, every 5 s, while this page is open; the last 15 minutes
          </span>
        )}
        <div className="actions">
          <select aria-label="Node" value={chosen} onChange={(event) => setParams({ node: event.target.value })}>
            <option value="">All nodes</option>
            {nodes.map(({ nodeId, name }) => (
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
      {timesMs.length === 0 ? (
        <div className="card">
          <Empty title="The first values come in a moment">
            Cores, memory, stores and GPUs of each node, and attempts a second.
          </Empty>
        </div>
      ) : (
        <div className="charts">
          {chosen === "" && (
            <Card title="Attempts a second" className="wide">
              <Chart
                label="Attempts a second"
                timesMs={rates.map(({ atMs }) => atMs)}
                series={[
                  { title: "finished", color: "--run", values: rates.map(({ finished }) => finished), isFilled: true },
                  { title: "failed", color: "--bad", values: rates.map(({ failed }) => failed) },
                ]}
                format={compact}
              />
            </Card>
          )}
          {shown
            .slice(0, NODES_MAX)
            .flatMap(({ nodeId, name, cpu, memory, memoryTotal, store, spilled, storeCapacity, gpu }) => [
              <Card key={`${nodeId} cpu`} title={`${name} · cores${gpu === null ? "" : " and GPUs"}`}>
                <Chart
                  label={`${name}, busy share`}
                  timesMs={timesMs}
                  max={100}
                  series={[
                    { title: "cores", color: "--run", values: cpu, isFilled: true },
                    ...(gpu === null ? [] : [{ title: "GPUs", color: "--wait", values: gpu }]),
                  ]}
                  format={(value) => percent(value)}
                />
              </Card>,
              <Card key={`${nodeId} memory`} title={`${name} · memory and store`}>
                <Chart
                  label={`${name}, memory`}
                  timesMs={timesMs}
                  max={Math.max(memoryTotal, storeCapacity)}
                  series={[
                    { title: "machine", color: "--run", values: memory, isFilled: true },
                    { title: "store", color: "--ok", values: store },
                    { title: "spilled", color: "--wait", values: spilled },
                  ]}
                  isBytes
                  format={(value) => bytes(Math.round(value))}
                />
              </Card>,
            ])}
        </div>
      )}
      {shown.length > NODES_MAX && (
        <p className="muted">
          The first {NODES_MAX} of {shown.length} nodes; choose one above to see it.
        </p>
      )}
    </div>
  );
}

/** Two charts each: more are slow to look through, too. */
const NODES_MAX = 24;
