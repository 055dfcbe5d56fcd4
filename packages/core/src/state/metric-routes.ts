/** The route of metrics. */
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Env } from "./http.ts";
import { EventCounts, metricFamilies } from "./metrics.ts";
import { CONTENT_TYPE, expositionText } from "./prometheus.ts";
import type { StateService } from "./service.ts";

export function addMetrics(app: OpenAPIHono<Env>, service: StateService): void {
  const events = new EventCounts(service.eventLog);
  app.get("/metrics", async (context) =>
    context.body(expositionText(await metricFamilies(service, events)), 200, { "content-type": CONTENT_TYPE }),
  );
}
