/** What happened to the cluster, and what detectors found. */
import type { List } from "../api.ts";
import { listPath } from "../api.ts";
import { count, shortId } from "../format.ts";
import { Ago, Empty, Failure, Partial } from "../parts.tsx";
import { href, useParams } from "../router.ts";
import type { EventRow } from "../rows.ts";
import { useQuery } from "../use-query.ts";

const severityTones = { info: "off", warning: "wait", error: "bad" } as const;

export function EventLine({ event }: { event: EventRow }) {
  const { severity, kind, message, remedy, subjects, by, atMs } = event;
  return (
    <article className="event">
      <span className={`dot ${severityTones[severity]}`} role="img" aria-label={severity} />
      <span className="wrap">
        <strong>{kind}</strong> {message}
        {by !== null && <span className="muted"> by {by}</span>}
      </span>
      <Ago atMs={atMs} />
      {remedy !== null && <span className="remedy wrap">→ {remedy}</span>}
      {subjects.length > 0 && (
        <span className="subjects small">
          {subjects.slice(0, 6).map((id) => (
            <a key={id} className="mono" href={href(["find", id])} title={id}>
              {shortId(id)}
            </a>
          ))}
          {subjects.length > 6 && <span className="muted">and {count(subjects.length - 6)} more</span>}
        </span>
      )}
    </article>
  );
}

export function EventsPage() {
  const [params, setParams] = useParams();
  const filters = params.getAll("filter");
  const { data, error, isOld, refresh } = useQuery<List<EventRow>>(listPath("events", filters, 500), 5000);
  const severity = filters.find((filter) => filter.startsWith("severity="))?.slice("severity=".length) ?? "";
  const text = filters.find((filter) => filter.startsWith("message~"))?.slice("message~".length) ?? "";
  const set = (nextSeverity: string, nextText: string) =>
    setParams({
      filter: [
        ...filters.filter((filter) => !filter.startsWith("severity=") && !filter.startsWith("message~")),
        ...(nextSeverity === "" ? [] : [`severity=${nextSeverity}`]),
        ...(nextText === "" ? [] : [`message~${nextText}`]),
      ],
    });
  const others = filters.filter((filter) => !filter.startsWith("severity=") && !filter.startsWith("message~"));
  return (
    <div className="page">
      <div className="page-head">
        <h1>Events</h1>
      </div>
      <search className="filters">
        <input
          className="quick"
          type="search"
          aria-label="Message contains"
          placeholder="Message contains"
          value={text}
          onChange={(event) => set(severity, event.target.value)}
        />
        <select aria-label="Severity" value={severity} onChange={(event) => set(event.target.value, text)}>
          <option value="">Any severity</option>
          <option>error</option>
          <option>warning</option>
          <option>info</option>
        </select>
        {others.map((filter) => (
          <span className="chip" key={filter}>
            {filter}
            <button
              type="button"
              aria-label={`Remove the filter ${filter}`}
              onClick={() => setParams({ filter: filters.filter((other) => other !== filter) })}
            >
              ×
            </button>
          </span>
        ))}
        <span className="total" role="status">
          {data !== undefined &&
            `${count(data.total)} events${data.total > data.rows.length ? `, the newest ${count(data.rows.length)} here` : ""}`}
        </span>
      </search>
      {error !== undefined && <Failure error={error} hasData={data !== undefined} retry={refresh} />}
      <Partial reasons={data?.partial} />
      {data !== undefined && (
        <section className={`card ${isOld ? "is-old" : ""}`} aria-label="Events">
          {data.rows.length === 0 ? (
            <Empty title={filters.length > 0 ? "No events match" : "Nothing has happened yet"}>
              Nodes and actors that die, jobs that come and go, and what detectors find: deadlocks, stragglers, leaks.
            </Empty>
          ) : (
            data.rows.map((event) => <EventLine key={event.eventId} event={event} />)
          )}
        </section>
      )}
    </div>
  );
}
