import { type List, listPath } from "../api.ts";
import { LogView, logOf } from "../log-view.tsx";
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
        <h1>{row?.file ?? titleOf(id)}</h1>
      </div>
      <LogView source={logOf(id)} />
    </div>
  );
}

/** A file has its name after the node's id; a process is said by its number; of anything else the id is all there is. */
function titleOf(id: string): string {
  const [, file] = /^[0-9a-f]{32}:(.+)$/.exec(id) ?? [];
  const [, pid] = /^pid:(\d+)$/.exec(id) ?? [];
  return file ?? (pid === undefined ? `Log of ${id}` : `Log of process ${pid}`);
}
