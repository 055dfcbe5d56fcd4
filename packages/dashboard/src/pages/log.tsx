import { type List, listPath } from "../api.ts";
import { LogView } from "../log-view.tsx";
import { NodeLink } from "../parts.tsx";
import { href } from "../router.ts";
import type { LogRow } from "../rows.ts";
import { useQuery } from "../use-query.ts";

export function LogPage({ id }: { id: string }) {
  const { data } = useQuery<List<LogRow>>(listPath("logs", [`logId=${id}`], 1), 0);
  const row = data?.rows[0];
  return (
    <div className="page fills">
      <nav className="crumbs" aria-label="Breadcrumb">
        <a href={href(["logs"])}>Logs</a>
        {row !== undefined && (
          <>
            <span aria-hidden="true">/</span> <NodeLink id={row.nodeId} />
          </>
        )}
      </nav>
      <div className="page-head">
        <h1>{row?.file ?? id}</h1>
      </div>
      <LogView source={{ path: `logs/${encodeURIComponent(id)}`, isOutput: false }} />
    </div>
  );
}
