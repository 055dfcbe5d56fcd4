/** The first page: how much is done, what is used, what waits and why, what needs attention. */
import { Chart } from "../chart.tsx";

import { bytes, compact, count, percent } from "../format.ts";
import { HISTORY_MS } from "../node-charts.tsx";
import { Bar, Card, Empty, Failure, ResourceMeter } from "../parts.tsx";
import { JobsProgress } from "../progress.tsx";
import { href, useParams } from "../router.ts";
import { type History, type Overview, taskStates } from "../rows.ts";

import { useQuery } from "../use-query.ts";
import { EventLine } from "./events.tsx";
import { AttemptsChart } from "./metrics.tsx";

const stateTones: Readonly<Record<string, string>> = {
  waiting: "wait",
  queued: "wait",
  running: "run",
  finished: "ok",
  failed: "bad",
  lost: "bad",
  preempted: "off",
  cancelled: "off",
};

export function OverviewPage() {
  const { data, error, refresh } = useQuery<Overview>("overview", 2000);
  return (
    <div className="page">
      <div className="page-head">
        <h1>Overview</h1>
      </div>
      {error !== undefined && <Failure error={error} hasData={data !== undefined} retry={refresh} />}
      {data !== undefined && <Content overview={data} />}
    </div>
  );
}

/** Seconds over which the rate in the tile is the mean. */
const RATE_SECONDS = 10;

function Content({ overview }: { overview: Overview }) {
  const { tasks, actors, nodes, throughput, store, gpus, resources, waiting, alerts, progress } = overview;
  const [params, setParams] = useParams();
  const isHour = params.get("range") === "hour";
  const setHour = (next: boolean) => setParams({ range: next ? "hour" : "" });
  const recent = throughput.slice(-RATE_SECONDS);
  const rate = recent.reduce((sum, { finished }) => sum + finished, 0) / Math.max(1, recent.length);
  const failing = recent.reduce((sum, { failed }) => sum + failed, 0) / Math.max(1, recent.length);
  const inQueue = (tasks.waiting ?? 0) + (tasks.queued ?? 0);
  const failed = (tasks.failed ?? 0) + (tasks.lost ?? 0);
  const aliveActors = actors.alive ?? 0;
  const otherActors = Object.entries(actors).filter(([state, n]) => state !== "alive" && n > 0);
  return (
    <>
      <div className="tiles">
        <Tile
          label="Finished a second"
          value={compact(Math.round(rate * 10) / 10)}
          hint={failing > 0 ? `${compact(Math.round(failing * 10) / 10)} failed a second` : "none failed"}
          to={href(["tasks"], { tab: "functions" })}
        />
        <Tile
          label="Running"
          value={count(tasks.running ?? 0)}
          hint={`${compact(tasks.finished ?? 0)} finished`}
          to={href(["tasks"], { filter: "state=running" })}
        />
        <Tile
          label="Waiting"
          value={count(inQueue)}
          hint={`${compact(tasks.waiting ?? 0)} for arguments, ${compact(tasks.queued ?? 0)} for a worker`}
          to={href(["tasks"], { filter: "state=queued" })}
        />
        <Tile
          label="Failed or lost"
          value={count(failed)}
          tone={failed > 0 ? "bad" : ""}
          hint="since the cluster began"
          to={href(["tasks"], { filter: "state=failed" })}
        />
        <Tile
          label="Actors alive"
          value={count(aliveActors)}
          hint={
            otherActors.length === 0
              ? "none has died"
              : otherActors.map(([state, n]) => `${compact(n)} ${state}`).join(", ")
          }
          to={href(["actors"])}
        />
        <Tile
          label="Nodes alive"
          value={count(nodes.alive)}
          tone={nodes.dead > 0 ? "wait" : ""}
          hint={nodes.dead + nodes.draining === 0 ? "all of them" : `${nodes.draining} draining, ${nodes.dead} dead`}
          to={href(["nodes"])}
        />
      </div>
      <div className="columns">
        <div>
          <Card title="Attempts a second" aside={<RangeChoice isHour={isHour} setHour={setHour} />}>
            {isHour ? (
              <PastHour />
            ) : throughput.length === 0 ? (
              <Empty title="Nothing has ended yet">What your program finishes each second shows here.</Empty>
            ) : (
              <Chart
                label="Attempts a second"
                timesMs={throughput.map(({ atMs }) => atMs)}
                series={[
                  { title: "finished", color: "--run", values: throughput.map((at) => at.finished), isFilled: true },
                  { title: "failed", color: "--bad", values: throughput.map((at) => at.failed) },
                ]}
                format={compact}
              />
            )}
          </Card>
          {progress.length > 0 && <JobsProgress jobs={progress} />}
          <Card
            title="What waits, and why"
            aside={<span className="muted small">{count(waiting.length)} demands</span>}
            flush
          >
            <Waiting waiting={waiting} />
          </Card>
        </div>
        <div>
          <Card title="Utilisation">
            <div className="meters">
              {Object.entries(resources).map(([name, { used, total }]) => (
                <ResourceMeter key={name} name={name} used={used} total={total} />
              ))}
              <ResourceMeter name="Store, object memory" used={store.usedBytes} total={store.capacityBytes} />
              {gpus !== null && gpus.utilisationPercent !== null && (
                <div>
                  <div className="meter-head">
                    <span>GPUs busy</span>
                    <span>{percent(gpus.utilisationPercent)}</span>
                  </div>
                  <Bar used={gpus.utilisationPercent} total={100} tone="run" />
                </div>
              )}
              {gpus !== null && gpus.memoryTotalBytes > 0 && (
                <ResourceMeter name="Memory of GPUs" used={gpus.memoryUsedBytes} total={gpus.memoryTotalBytes} />
              )}
              {gpus !== null && gpus.problems > 0 && (
                <p className="small">
                  <span className="pill bad">{count(gpus.problems)}</span> of {count(gpus.count)} GPUs cannot be
                  measured: <a href={href(["nodes"])}>their nodes</a> say why
                </p>
              )}
              {store.spilledBytes > 0 && (
                <p className="muted small">{bytes(store.spilledBytes)} of objects spilled to disk</p>
              )}
              {Object.keys(resources).length === 0 && <p className="muted">No node has joined.</p>}
            </div>
          </Card>
          <Card
            title="Needs attention"
            aside={
              <a href={href(["events"])} className="small">
                All events →
              </a>
            }
            flush
          >
            {alerts.length === 0 ? (
              <Empty title="All is well">
                Deadlocks, stragglers, leaks and demand that cannot be met show here, with a remedy.
              </Empty>
            ) : (
              <div>
                {alerts.slice(0, 8).map((event) => (
                  <EventLine key={event.eventId} event={event} />
                ))}
              </div>
            )}
          </Card>
          <Card title="Attempts by state">
            <StateBars counts={tasks} />
          </Card>
        </div>
      </div>
    </>
  );
}

function RangeChoice({ isHour, setHour }: { isHour: boolean; setHour: (isHour: boolean) => void }) {
  return (
    <span className="choice">
      {(
        [
          [false, "2 minutes"],
          [true, "1 hour"],
        ] as const
      ).map(([value, title]) => (
        <button key={title} type="button" aria-pressed={isHour === value} onClick={() => setHour(value)}>
          {title}
        </button>
      ))}
    </span>
  );
}

function PastHour() {
  const { data, error } = useQuery<History>("history?limit=0", HISTORY_MS);
  if (data !== undefined) return <AttemptsChart history={data} />;
  return error === undefined ? <div className="skeleton">Loading…</div> : <Failure error={error} hasData={false} />;
}

function Tile({
  label,
  value,
  hint,
  to,
  tone = "",
}: {
  label: string;
  value: string;
  hint: string;
  to: string;
  tone?: string;
}) {
  return (
    <a className="card tile" href={to}>
      <span className="label">{label}</span>
      <div className={`value ${tone}`}>{value}</div>
      <div className="hint" title={hint}>
        {hint}
      </div>
    </a>
  );
}

function Waiting({ waiting }: { waiting: Overview["waiting"] }) {
  if (waiting.length === 0) {
    return (
      <Empty title="Nothing waits">Demand that no worker or node can take at once shows here, with the reason.</Empty>
    );
  }
  return (
    <div className="scroll-x">
      <table className="simple stacks">
        <thead>
          <tr>
            <th scope="col" className="end">
              Count
            </th>
            <th scope="col">What</th>
            <th scope="col">Wants</th>
            <th scope="col">Why it waits</th>
          </tr>
        </thead>
        <tbody>
          {waiting.map(({ kind, name, count: waits, wish, why, isInfeasible }) => (
            <tr key={`${kind} ${name} ${wish}`}>
              <td className="end">{count(waits)}</td>
              <td className="clip">
                <a href={linkOf(kind, name)} title={name}>
                  {name}
                </a>
                <div className="muted small">{kind}</div>
              </td>
              <td className="nowrap">{wish.replace(/^\{ | \}$/g, "")}</td>
              <td className="wrap">
                {isInfeasible && <span className="pill bad">cannot be met</span>} {why}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function linkOf(kind: string, name: string): string {
  if (kind.startsWith("actor")) return href(["actors"], { filter: ["state=pending", `className~${name}`] });
  if (kind.startsWith("placement")) return href(["placement-groups"], { filter: `name~${name}` });
  return href(["tasks"], { filter: [`name~${name}`, "state=queued"] });
}

function StateBars({ counts }: { counts: Overview["tasks"] }) {
  const shown = taskStates.filter((state) => (counts[state] ?? 0) > 0);
  const most = Math.max(1, ...shown.map((state) => counts[state] ?? 0));
  if (shown.length === 0) return <p className="muted">No task has been submitted.</p>;
  return (
    <div className="meters">
      {shown.map((state) => {
        const n = counts[state] ?? 0;
        // Of a million finished ones three failed ones would be invisible: the scale is logarithmic.
        const share = Math.log10(n + 1) / Math.log10(most + 1);
        return (
          <a key={state} href={href(["tasks"], { filter: `state=${state}` })} style={{ color: "inherit" }}>
            <div className="meter-head">
              <span>{state}</span>
              <span>{count(n)}</span>
            </div>
            <span className="bar" aria-hidden="true">
              <span className={stateTones[state] ?? "off"} style={{ width: `${share * 100}%` }} />
            </span>
          </a>
        );
      })}
      <p className="muted small">Bars are logarithmic.</p>
    </div>
  );
}
