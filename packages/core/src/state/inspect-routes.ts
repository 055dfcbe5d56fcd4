/** The routes by which a person looks into a process: its stack, or a profile of it. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { NodeId } from "../base/ids.ts";
import type { Env } from "./http.ts";
import { inspect } from "./inspect.ts";
import type { Links } from "./links.ts";

const SECONDS = 10;
const SECONDS_MAX = 300;

const which = {
  nodeId: z.string().regex(/^[0-9a-f]{32}$/),
  pid: z.number().int().positive().openapi({ description: "of a worker or a driver of that node" }),
};
const stackRequest = z.object(which);
const profileRequest = z.object({
  ...which,
  kind: z.enum(["cpu", "heap"]),
  seconds: z.number().min(1).max(SECONDS_MAX).default(SECONDS),
});

export function addInspection(app: OpenAPIHono<Env>, links: Pick<Links, "ask">): void {
  const look = (nodeId: string, pid: number, what: "stack" | "cpu" | "heap", seconds?: number): Promise<Buffer> =>
    inspect((method, params) => links.ask(nodeId, method, params), { nodeId: nodeId as NodeId, pid }, what, seconds);

  app.openapi(
    createRoute({
      method: "post",
      path: "/api/v1/stack",
      request: { body: { content: { "application/json": { schema: stackRequest } }, required: true } },
      responses: {
        200: {
          description: "what it does: frames, what runs in it, what that waits for, or the kernel's view",
          content: { "application/json": { schema: z.looseObject({ pid: z.number() }) } },
        },
      },
    }),
    async (context) => {
      const { nodeId, pid } = context.req.valid("json");
      return context.json(JSON.parse((await look(nodeId, pid, "stack")).toString()), 200);
    },
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/api/v1/profile",
      request: { body: { content: { "application/json": { schema: profileRequest } }, required: true } },
      responses: {
        200: {
          description: "a .cpuprofile or .heapprofile, when its seconds are over",
          content: { "application/json": { schema: z.looseObject({}) } },
        },
      },
    }),
    async (context) => {
      const { nodeId, pid, kind, seconds } = context.req.valid("json");
      const bytes = await look(nodeId, pid, kind, seconds);
      return context.body(new Uint8Array(bytes), 200, {
        "content-type": "application/json",
        "content-disposition": `attachment; filename="${pid}.${kind}profile"`,
      }) as never;
    },
  );
}
