/** The routes by which a person looks into a process: its stack, a profile, or a snapshot of its heap. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { InternalError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { Env } from "./http.ts";
import { type InspectOptions, inspect, inspected } from "./inspect.ts";
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
  kind: z.enum(["cpu", "heap", "snapshot"]).openapi({
    description: "a snapshot is of the whole heap: the process stands still for it, and needs memory for it",
  }),
  seconds: z.number().min(1).max(SECONDS_MAX).default(SECONDS),
  force: z.boolean().default(false).openapi({ description: "a snapshot although the memory for it is not there" }),
});

export function addInspection(app: OpenAPIHono<Env>, links: Pick<Links, "ask">): void {
  const look = (
    nodeId: string,
    pid: number,
    what: "stack" | "cpu" | "heap",
    options?: InspectOptions,
  ): Promise<Buffer> =>
    inspect((method, params) => links.ask(nodeId, method, params), { nodeId: nodeId as NodeId, pid }, what, options);

  /** Passed on as the node reads it: nothing here holds it. */
  const snapshot = async (nodeId: string, pid: number, isForced: boolean): Promise<Response> => {
    const ask: Parameters<typeof inspected>[0] = (method, params) => links.ask(nodeId, method, params);
    const slices = inspected(ask, { nodeId: nodeId as NodeId, pid }, "snapshot", { isForced });
    const first = await slices.next();
    if (first.done) throw new InternalError("a snapshot has ended before it began");
    const { bytes, totalBytes, stillMs = 0 } = first.value;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new Uint8Array(bytes)),
      pull: async (controller) => {
        const { done, value } = await slices.next();
        if (done) controller.close();
        else controller.enqueue(new Uint8Array(value.bytes));
      },
      // The node forgets what nobody reads.
      cancel: async () => void (await slices.return(undefined)),
    });
    return new Response(body, {
      headers: {
        "content-type": "application/json",
        "content-length": String(totalBytes),
        "content-disposition": `attachment; filename="${pid}.heapsnapshot"`,
        "mobula-still-ms": String(Math.round(stillMs)),
      },
    });
  };

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
          description:
            "a .cpuprofile or .heapprofile, when its seconds are over; or a .heapsnapshot, with the header mobula-still-ms: so long the process stood still",
          content: { "application/json": { schema: z.looseObject({}) } },
        },
      },
    }),
    async (context) => {
      const { nodeId, pid, kind, seconds, force } = context.req.valid("json");
      if (kind === "snapshot") return (await snapshot(nodeId, pid, force)) as never;
      const bytes = await look(nodeId, pid, kind, { seconds });
      return context.body(new Uint8Array(bytes), 200, {
        "content-type": "application/json",
        "content-disposition": `attachment; filename="${pid}.${kind}profile"`,
      }) as never;
    },
  );
}
