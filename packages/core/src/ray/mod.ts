export { rayControlStore } from "./control-store.ts";
export { rayJobRoutes } from "./job-routes.ts";
export { rayStateRoutes } from "./state-routes.ts";
