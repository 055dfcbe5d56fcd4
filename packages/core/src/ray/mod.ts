export { rayJobRoutes } from "./job-routes.ts";
