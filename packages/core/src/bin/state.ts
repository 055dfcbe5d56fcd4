/** The program of the state service, with submitted jobs and the interfaces of Ray's tools. */
import { init } from "../api/mod.ts";
import { addJobRoutes, JobManager, jobRowOf, SUPERVISORS_NAMESPACE } from "../jobs/mod.ts";
import { rayControlStore, rayJobRoutes, rayStateRoutes } from "../ray/mod.ts";
import { type Extension, type ExtensionContext, runState } from "../state/main.ts";
import { packageManifest, runEntry } from "./entries.ts";

runEntry(() => runState(extension));

function extension({ config, access, ask, note, log }: ExtensionContext): Extension {
  const { control, isEmbedded, packagesDir } = config;
  const { tls } = config.access;
  const manager = new JobManager({
    ask,
    refusal: isEmbedded
      ? "jobs go on when whoever submitted them has ended, and this node ends with its program: start one with `mobula start`, and submit there"
      : undefined,
    packagesFolder: packagesDir,
    // It becomes a driver when the first job is to be reached, and not before.
    join: async () => {
      const where = control.kind === "head" ? { address: control.address, token: access.token() } : { address: "auto" };
      await init({
        ...where,
        namespace: SUPERVISORS_NAMESPACE,
        jobName: "submitted jobs",
        logToDriver: false,
        ...(tls && { tls }),
      });
    },
    onProblem: log,
    onAudit: (kind, message, subjects) =>
      note({ atMs: Date.now(), severity: "info", kind, message, subjects: [...subjects] }),
  });
  const { version } = packageManifest();
  return {
    addRoutes(app, state) {
      addJobRoutes(app, manager);
      app.route("/", rayJobRoutes({ manager, version }));
      app.route("/", rayStateRoutes({ state, jobs: manager }));
    },
    whyJob: (id) => manager.explain(id),
    serveHttp2: (state, decide) => rayControlStore({ state, decide, log }),
    submittedJobs: async () => (await manager.all()).map((job) => jobRowOf(job)),
  };
}
