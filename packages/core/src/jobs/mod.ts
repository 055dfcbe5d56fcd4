export type { KnownJob } from "./known-jobs.ts";
export { JobManager, type JobRequest, newRaySubmissionId } from "./manager.ts";
export { addJobRoutes } from "./routes.ts";
export { jobRowOf } from "./rows.ts";
export { SUPERVISORS_NAMESPACE } from "./supervisors.ts";
