/** An id or a name, of which it is not known what it names: every kind is asked, and what is found is shown. */
import { useEffect, useState } from "react";
import { ApiError, getJson, type List, listPath } from "../api.ts";
import { shortId } from "../format.ts";
import { Card, Empty, type LinkKind } from "../parts.tsx";
import { href } from "../router.ts";
import type { ActorRow, GroupRow, JobRow, LogRow, NodeRow, RowKind, TaskSummaryRow } from "../rows.ts";
import { Why } from "./why.tsx";

interface Found {
  readonly kind: LinkKind;
  readonly what: string;
  readonly title: string;
  readonly to: string;
}

/** How long an id of each kind is, in hex digits: those are asked first, and a hit is gone to at once. */
const kindsByLength: Readonly<Record<number, readonly RowKind[]>> = {
  8: ["jobs"],
  16: ["workers"],
  24: ["workers"],
  32: ["actors", "nodes", "placement-groups"],
  48: ["tasks"],
  56: ["objects"],
};
const singular: Readonly<Record<string, string>> = {
  jobs: "job",
  workers: "worker",
  actors: "actor",
  nodes: "node",
  "placement-groups": "placement group",
  tasks: "task",
  objects: "object",
  logs: "log",
};

export function FindPage({ query }: { query: string }) {
  const [found, setFound] = useState<readonly Found[] | undefined>(undefined);
  const [problem, setProblem] = useState<string | undefined>(undefined);
  useEffect(() => {
    const abort = new AbortController();
    setFound(undefined);
    setProblem(undefined);
    find(query, abort.signal)
      .then((hits) => {
        if (abort.signal.aborted) return;
        const [only] = hits;
        if (hits.length === 1 && only !== undefined && isId(query)) {
          // In place of this page: going back does not lead here, and forward again.
          location.replace(only.to);
        } else setFound(hits);
      })
      .catch((error: unknown) => {
        if (!abort.signal.aborted) setProblem(error instanceof Error ? error.message : String(error));
      });
    return () => abort.abort();
  }, [query]);
  return (
    <div className="page">
      <div className="page-head">
        <h1>{query}</h1>
      </div>
      {problem !== undefined && <div className="notice bad">{problem}</div>}
      {found === undefined && problem === undefined && <div className="skeleton">Looking…</div>}
      {found !== undefined && (
        <div className="columns">
          <div>
            <Card title="Found" flush>
              {found.length === 0 ? (
                <Empty title="Nothing goes by that name">
                  Ids, and parts of the names of jobs, functions, actors, nodes, placement groups and log files are
                  found.
                </Empty>
              ) : (
                <table className="simple">
                  <tbody>
                    {found.map(({ what, title, to }) => (
                      <tr key={to}>
                        <td className="muted nowrap">{what}</td>
                        <td className="wrap" style={{ width: "100%" }}>
                          <a href={to}>{title}</a>
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              )}
            </Card>
          </div>
          <div>
            <Why id={query} everyMs={0} />
          </div>
        </div>
      )}
    </div>
  );
}

/** Of an object that is known to few also `f8f083d2.3y283za`. */
const isId = (text: string) => /^[0-9a-f]{8,56}$|^[0-9a-f]{8}\.\w+$/i.test(text);

async function find(query: string, signal: AbortSignal): Promise<readonly Found[]> {
  const text = query.trim();
  const kinds = text.includes(".") ? ["objects" as const] : isId(text) ? (kindsByLength[text.length] ?? []) : [];
  const exact = await Promise.all(kinds.map((kind) => exists(kind, text, signal)));
  const hits = exact.flatMap((hit) => (hit === undefined ? [] : [hit]));
  if (hits.length > 0) return hits;
  const part = <R,>(kind: RowKind, key: string) =>
    optional(getJson<List<R>>(listPath(kind, [`${key}~${text}`], 10), signal));
  const [jobs, functions, actors, named, nodes, groups, logs, submitted] = await Promise.all([
    part<JobRow>("jobs", "entrypoint"),
    optional(getJson<{ readonly rows: readonly TaskSummaryRow[] }>("summary/tasks", signal)),
    part<ActorRow>("actors", "className"),
    part<ActorRow>("actors", "name"),
    part<NodeRow>("nodes", "name"),
    part<GroupRow>("placement-groups", "name"),
    part<LogRow>("logs", "file"),
    part<JobRow>("jobs", "submissionId"),
  ]);
  const found: Found[] = [];
  const add = (kind: LinkKind, title: string, id: string) =>
    found.push({ kind, what: singular[kind] ?? kind, title, to: href([kind, id]) });
  for (const row of [...(submitted?.rows ?? []), ...(jobs?.rows ?? [])]) {
    const id = row.submissionId ?? row.jobId;
    if (id !== null && !found.some(({ to }) => to === href(["jobs", id])))
      add("jobs", row.name ?? `${id}: ${row.entrypoint}`, id);
  }
  for (const { name } of functions?.rows ?? []) {
    if (name.toLowerCase().includes(text.toLowerCase()) && found.length < 40) {
      found.push({ kind: "tasks", what: "function", title: name, to: href(["tasks"], { filter: `name=${name}` }) });
    }
  }
  for (const row of nodes?.rows ?? []) add("nodes", row.name, row.nodeId);
  for (const row of groups?.rows ?? []) add("placement-groups", row.name ?? row.placementGroupId, row.placementGroupId);
  const seen = new Set<string>();
  for (const row of [...(named?.rows ?? []), ...(actors?.rows ?? [])]) {
    if (seen.has(row.actorId)) continue;
    seen.add(row.actorId);
    add("actors", `${row.name ?? row.className} ${shortId(row.actorId)}`, row.actorId);
  }
  for (const row of logs?.rows ?? []) add("logs", row.file, row.logId);
  return found;
}

async function exists(kind: RowKind, id: string, signal: AbortSignal): Promise<Found | undefined> {
  const answer =
    kind === "tasks"
      ? await optional(getJson<List<unknown>>(listPath("tasks", [`taskId=${id}`], 1), signal))
      : await optional(getJson<object>(`${kind}/${id}`, signal));
  if (answer === undefined || ("rows" in answer && Array.isArray(answer.rows) && answer.rows.length === 0))
    return undefined;
  const link = kind as LinkKind;
  return { kind: link, what: singular[kind] ?? kind, title: id, to: href([kind, id]) };
}

/** What is not there, or cannot be asked, was not found. */
async function optional<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ApiError && (error.status === 404 || error.status === 400 || error.status === 503))
      return undefined;
    throw error;
  }
}
