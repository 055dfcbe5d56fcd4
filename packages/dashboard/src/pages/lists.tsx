/** Pages that are one list. */
import type { ReactNode } from "react";
import { count, NONE } from "../format.ts";
import type { ListSpec } from "../list-page.tsx";
import { ListView } from "../list-page.tsx";
import { Failure, Tabs } from "../parts.tsx";
import { href, useParams } from "../router.ts";
import type { ActorSummaryRow } from "../rows.ts";
import { type Column, Table } from "../table.tsx";
import { useQuery } from "../use-query.ts";
import { actorsSpec, groupsSpec, jobsSpec, logsSpec, nodesSpec, workersSpec } from "./specs.tsx";

function ListPage<R>({ title, spec, actions }: { title: string; spec: ListSpec<R>; actions?: ReactNode }) {
  return (
    <div className="page fills">
      <div className="page-head">
        <h1>{title}</h1>
        {actions !== undefined && <div className="actions">{actions}</div>}
      </div>
      <ListView spec={spec} />
    </div>
  );
}

export const JobsPage = () => (
  <ListPage
    title="Jobs"
    spec={jobsSpec}
    actions={
      <a className="button primary" href={href(["submit"])}>
        Submit a job
      </a>
    }
  />
);
export const NodesPage = () => <ListPage title="Nodes" spec={nodesSpec} />;
export const WorkersPage = () => <ListPage title="Workers" spec={workersSpec} />;
export const GroupsPage = () => <ListPage title="Placement groups" spec={groupsSpec} />;
export const LogsPage = () => <ListPage title="Logs" spec={logsSpec} />;

const actorTabs = [
  ["all", "All actors"],
  ["classes", "By class"],
] as const;

export function ActorsPage() {
  const [params] = useParams();
  const tab = params.get("tab") === "classes" ? "classes" : "all";
  return (
    <div className="page fills">
      <div className="page-head">
        <h1>Actors</h1>
      </div>
      <Tabs
        tabs={actorTabs}
        current={tab}
        linkTo={(key) => href(["actors"], { tab: key === "all" ? undefined : key })}
      />
      {tab === "all" ? <ListView spec={actorsSpec} /> : <Classes />}
    </div>
  );
}

const classColumns: readonly Column<ActorSummaryRow>[] = [
  {
    key: "class",
    title: "Class",
    width: "minmax(180px, 2fr)",
    phone: "title",
    render: (row) => row.className,
    sort: (row) => row.className,
  },
  ...["pending", "alive", "restarting", "dead"].map((state): Column<ActorSummaryRow> => {
    const n = (row: ActorSummaryRow) => row.counts[state] ?? 0;
    return {
      key: state,
      title: state,
      width: "110px",
      isEnd: true,
      render: (row) =>
        n(row) === 0 ? (
          <span className="muted">{NONE}</span>
        ) : (
          <a href={href(["actors"], { filter: [`className=${row.className}`, `state=${state}`] })}>{count(n(row))}</a>
        ),
      sort: n,
    };
  }),
];

function Classes() {
  const { data, error, refresh } = useQuery<{ readonly rows: readonly ActorSummaryRow[] }>("summary/actors", 2000);
  return (
    <>
      {error !== undefined && <Failure error={error} hasData={data !== undefined} retry={refresh} />}
      {data !== undefined &&
        (data.rows.length === 0 ? (
          <div className="card">{actorsSpec.empty}</div>
        ) : (
          <Table
            label="Classes"
            columns={classColumns}
            rows={data.rows}
            idOf={(row) => row.className}
            linkOf={(row) => href(["actors"], { filter: `className=${row.className}` })}
            sortParam="sort"
          />
        ))}
    </>
  );
}
