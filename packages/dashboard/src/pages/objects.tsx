/** Objects: what holds memory, by the line that made it, and each of them. */
import { bytes, count, NONE, shortSite } from "../format.ts";
import { ListView } from "../list-page.tsx";
import { Bar, Empty, Failure, Tabs } from "../parts.tsx";
import { href, useParams } from "../router.ts";
import type { ObjectSummaryRow } from "../rows.ts";
import { type Column, Table } from "../table.tsx";
import { useQuery } from "../use-query.ts";
import { objectsSpec } from "./specs.tsx";

const tabs = [
  ["sites", "By call site"],
  ["all", "All objects"],
] as const;

export function ObjectsPage() {
  const [params] = useParams();
  const tab = params.get("tab") === "all" || params.has("filter") ? "all" : "sites";
  return (
    <div className="page fills">
      <div className="page-head">
        <h1>Objects</h1>
      </div>
      <Tabs tabs={tabs} current={tab} linkTo={(key) => href(["objects"], { tab: key === "sites" ? undefined : key })} />
      {tab === "sites" ? <Sites /> : <ListView spec={objectsSpec} />}
    </div>
  );
}

function Sites() {
  const { data, error, refresh } = useQuery<{ readonly rows: readonly ObjectSummaryRow[] }>("summary/objects", 3000);
  const total = (data?.rows ?? []).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const columns: readonly Column<ObjectSummaryRow>[] = [
    {
      key: "site",
      title: "Call site",
      width: "minmax(240px, 2fr)",
      isMono: true,
      phone: "title",
      render: (row) => <span title={row.callSite}>{shortSite(row.callSite)}</span>,
      sort: (row) => row.callSite,
    },
    {
      key: "size",
      title: "Size",
      width: "110px",
      isEnd: true,
      render: (row) => bytes(row.sizeBytes),
      sort: (row) => row.sizeBytes,
    },
    {
      key: "share",
      title: "Share",
      width: "minmax(90px, 180px)",
      phone: "hide",
      render: (row) => <Bar used={row.sizeBytes} total={total} tone="run" />,
    },
    {
      key: "objects",
      title: "Objects",
      width: "100px",
      isEnd: true,
      render: (row) => count(row.objects),
      sort: (row) => row.objects,
    },
    {
      key: "spilled",
      title: "Spilled",
      width: "110px",
      isEnd: true,
      render: (row) => (row.spilledBytes === 0 ? <span className="muted">{NONE}</span> : bytes(row.spilledBytes)),
      sort: (row) => row.spilledBytes,
    },
    {
      key: "holders",
      title: "Holds",
      width: "100px",
      isEnd: true,
      render: (row) => count(row.holders),
      sort: (row) => row.holders,
    },
  ];
  return (
    <>
      {error !== undefined && <Failure error={error} hasData={data !== undefined} retry={refresh} />}
      {data !== undefined &&
        (data.rows.length === 0 ? (
          <div className="card">{objectsSpec.empty}</div>
        ) : (
          <Table
            label="Call sites"
            columns={columns}
            rows={data.rows}
            idOf={(row) => row.callSite}
            linkOf={(row) => href(["objects"], { tab: "all", filter: `callSite=${row.callSite}` })}
            sortParam="sort"
          />
        ))}
      {data === undefined && error === undefined && <Empty title="Asking the nodes…" />}
    </>
  );
}
