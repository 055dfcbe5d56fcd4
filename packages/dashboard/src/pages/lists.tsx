/** Pages that are one list. */
import type { ReactNode } from "react";
import type { ListSpec } from "../list-page.tsx";
import { ListView } from "../list-page.tsx";
import { href } from "../router.ts";
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
export const ActorsPage = () => <ListPage title="Actors" spec={actorsSpec} />;
export const GroupsPage = () => <ListPage title="Placement groups" spec={groupsSpec} />;
export const LogsPage = () => <ListPage title="Logs" spec={logsSpec} />;
