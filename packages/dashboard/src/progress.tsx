/** How far work is: what has ended, runs and waits, of what was submitted. */
import { useEffect } from "react";
import { openStream } from "./api.ts";
import { ago, compact, count, duration } from "./format.ts";
import { Card, Failure, Partial } from "./parts.tsx";
import { href } from "./router.ts";
import type { BarRow, JobProgress, Progress } from "./rows.ts";
import { put, useQuery } from "./use-query.ts";

type Counted = Pick<Progress, "counts" | "total" | "ended" | "endedPerSecond" | "leftMs">;

/** Ends first, as they fill the bar; what waits is the rest of it. */
const parts = [
  { name: "finished", tone: "ok", states: ["finished"] },
  { name: "failed or lost", tone: "bad", states: ["failed", "lost"] },
  { name: "cancelled", tone: "off", states: ["cancelled", "preempted"] },
  { name: "running", tone: "run", states: ["running"] },
] as const;

const sumOf = ({ counts }: Counted, states: readonly (keyof Counted["counts"])[]) =>
  states.reduce((sum, state) => sum + (counts[state] ?? 0), 0);

function ProgressBar({ title, of, to }: { title: string; of: Counted; to?: string }) {
  const { total, ended, endedPerSecond, leftMs } = of;
  const waits = sumOf(of, ["waiting", "queued"]);
  const running = sumOf(of, ["running"]);
  const failed = sumOf(of, ["failed", "lost"]);
  const words = [
    endedPerSecond > 0 && `${compact(Math.round(endedPerSecond * 10) / 10)} a second`,
    running > 0 && `${count(running)} running`,
    waits > 0 && `${count(waits)} waiting`,
    failed > 0 && `${count(failed)} failed`,
    ended < total && leftMs !== null && `about ${duration(Math.max(1_000, leftMs))} left`,
  ].filter((one) => one !== false);
  return (
    <div className="progress">
      <div className="meter-head">
        <span className="clip">{to === undefined ? title : <a href={to}>{title}</a>}</span>
        <span className="nowrap">
          {count(ended)} <span className="muted">of {count(total)}</span>
        </span>
      </div>
      <div
        className="bar"
        role="progressbar"
        aria-label={title}
        aria-valuemin={0}
        aria-valuemax={total}
        aria-valuenow={ended}
        aria-valuetext={[`${count(ended)} of ${count(total)} have ended`, ...words].join(", ")}
      >
        {parts.map(({ name, tone, states }) => {
          const n = sumOf(of, states);
          // One that failed of a million must be seen.
          return n === 0 ? null : (
            <span key={name} className={tone} style={{ width: `${(n / total) * 100}%`, minWidth: 2 }} title={name} />
          );
        })}
      </div>
      <div className="muted small">
        {words.join(" · ") || (total === 0 ? "nothing was submitted" : "all have ended")}
      </div>
    </div>
  );
}

/** One that has not moved for so long may have been forgotten by what made it. */
const STILL_MS = 60_000;

/** One that the program has made itself. Its numbers may be anything: more done than there is, or fractions. */
function BarOfProgram({ bar }: { bar: BarRow }) {
  const { label, done, total, perSecond, leftMs, isClosed, updatedAtMs, taskId, pid } = bar;
  const words = [
    perSecond !== null && perSecond > 0 && `${compact(Math.round(perSecond * 10) / 10)} a second`,
    leftMs !== null && leftMs > 0 && `about ${duration(Math.max(1_000, leftMs))} left`,
    isClosed ? "closed" : Date.now() - updatedAtMs > STILL_MS && `last changed ${ago(updatedAtMs, Date.now())}`,
  ].filter((one) => one !== false);
  const share = total === null ? 0 : total === 0 ? 1 : Math.min(1, Math.max(0, done / total));
  const of = total === null ? `${compact(done)} done` : `${compact(done)} of ${compact(total)}`;
  return (
    <div className="progress">
      <div className="meter-head">
        <span className="clip" title={label}>
          {taskId === null ? label : <a href={href(["tasks", taskId])}>{label}</a>}
        </span>
        <span className="nowrap">
          {compact(done)} <span className="muted">{total === null ? "done" : `of ${compact(total)}`}</span>
        </span>
      </div>
      {total !== null && (
        <div
          className="bar"
          role="progressbar"
          aria-label={label === "" ? "a bar without a label" : label}
          aria-valuemin={0}
          aria-valuemax={total}
          aria-valuenow={Math.min(total, Math.max(0, done))}
          aria-valuetext={[of, ...words].join(", ")}
        >
          <span className={isClosed ? "ok" : "run"} style={{ width: `${share * 100}%` }} />
        </div>
      )}
      <div className="muted small">{[...words, `pid ${pid}`].join(" · ")}</div>
    </div>
  );
}

function BarsOfProgram({
  bars,
  total,
  partial,
}: {
  bars: readonly BarRow[];
  total: number;
  partial: Progress["partial"];
}) {
  if (total === 0 && partial.length === 0) return null;
  return (
    <>
      {total > 0 && <h3 className="muted small">Bars of the program</h3>}
      <Partial reasons={partial} />
      <div className="meters parts">
        {bars.slice(0, BARS_SHOWN).map((bar) => (
          <BarOfProgram key={`${bar.nodeId} ${bar.barId}`} bar={bar} />
        ))}
      </div>
      {total > BARS_SHOWN && (
        <p className="muted small">
          {BARS_SHOWN} of {count(total)} bars, open ones first.
        </p>
      )}
    </>
  );
}
const BARS_SHOWN = 12;

function Legend() {
  return (
    <div className="legend">
      {parts.map(({ name, tone }) => (
        <span key={name}>
          <span className="swatch" style={{ color: `var(--${tone})` }} />
          {name}
        </span>
      ))}
      <span>
        <span className="swatch" style={{ color: "var(--off-soft)" }} />
        waiting
      </span>
    </div>
  );
}

/** Jobs that have something left. */
export function JobsProgress({ jobs }: { jobs: readonly JobProgress[] }) {
  return (
    <Card
      title="Progress of jobs"
      aside={
        <a href={href(["jobs"])} className="small">
          All jobs →
        </a>
      }
    >
      <div className="meters">
        {jobs.slice(0, JOBS_SHOWN).map((job) => (
          <ProgressBar
            key={job.jobId}
            title={(job.name ?? job.submissionId ?? job.jobId).split("/").at(-1) ?? job.jobId}
            of={job}
            to={href(["jobs", job.submissionId ?? job.jobId])}
          />
        ))}
        {jobs.length > JOBS_SHOWN && <p className="muted small">The {JOBS_SHOWN} with most left.</p>}
        {jobs.length > 0 && <Legend />}
      </div>
    </Card>
  );
}
const JOBS_SHOWN = 6;

/** Of one job, by function, live. */
export function ProgressOfJob({ job }: { job: string }) {
  const path = `progress?job=${encodeURIComponent(job)}`;
  const { data, error, refresh } = useQuery<Progress>(path, 2000);
  useEffect(() => {
    const stream = openStream(`stream?topics=progress&job=${encodeURIComponent(job)}`, {
      events: ["progress"],
      onEvent: (name, text) => {
        if (name === "progress") put(path, JSON.parse(text));
      },
    });
    return () => stream.close();
  }, [job, path]);
  if (data === undefined) return error === undefined ? null : <Failure error={error} hasData={false} retry={refresh} />;
  const { functions, functionsTotal, bars, barsTotal, partial, total } = data;
  if (total === 0 && barsTotal === 0) return null;
  return (
    <Card title="Progress" aside={<span className="muted small">attempts of tasks and calls, submitted so far</span>}>
      <div className="meters">
        {total > 0 && <ProgressBar title="All" of={data} />}
        {functionsTotal > 1 && (
          <div className="meters parts">
            {functions.slice(0, FUNCTIONS_SHOWN).map((one) => (
              <ProgressBar
                key={`${one.kind} ${one.name}`}
                title={one.name}
                of={one}
                to={href(["tasks"], { filter: [`jobId=${job}`, `name=${one.name}`] })}
              />
            ))}
          </div>
        )}
        {functionsTotal > FUNCTIONS_SHOWN && (
          <p className="muted small">
            The {FUNCTIONS_SHOWN} with most left, of {count(functionsTotal)} functions.
          </p>
        )}
        {total > 0 && <Legend />}
        <BarsOfProgram bars={bars} total={barsTotal} partial={partial} />
      </div>
    </Card>
  );
}
const FUNCTIONS_SHOWN = 12;
