/** The state service's process, from its first act to its last. `bin/state.ts` runs it; its parent is node/state-service.ts. */
import type { Http2Server } from "node:http2";
import type { Server, Socket } from "node:net";
import type { OpenAPIHono } from "@hono/zod-openapi";
import { NodeLog, type ParentWord, type ServiceWord, type StateServiceConfig } from "../node/mod.ts";
import { Access } from "../transport/mod.ts";
import type { Explanation } from "../wire/explanation.ts";
import type { Verdict } from "./access.ts";
import { type Ask, ControlClient } from "./control-client.ts";
import type { EventLog } from "./event-log.ts";
import { type Env, HttpServer } from "./http.ts";
import { Links } from "./links.ts";
import type { JobRow } from "./rows.ts";
import { StateService } from "./service.ts";

/** What rooms below this one add to the service, see bin/state.ts. */
export interface Extension {
  /** Before our own: what it does not answer, they do. */
  addRoutes(app: OpenAPIHono<Env>, service: StateService): void;
  /** Who speaks HTTP/2 on the same port, where nothing there is encrypted; `decide` is of requests that change nothing. */
  serveHttp2(service: StateService, decide: (authorization: string | undefined) => Verdict): Http2Server;
  /** Jobs that were submitted, the newest first. */
  submittedJobs(): Promise<readonly JobRow[]>;
  /** Why one waits, failed, or where it runs; undefined when there is none with this id. */
  whyJob(id: string): Promise<Explanation | undefined>;
}

export interface ExtensionContext {
  readonly config: StateServiceConfig;
  readonly access: Access;
  readonly ask: Ask;
  readonly note: EventLog["add"];
  log(message: string): void;
}

export function runState(extend: (context: ExtensionContext) => Extension): void {
  let begun: Promise<HttpServer> | undefined;
  process.on("message", (word: ParentWord, handle: Server | Socket | undefined) => {
    if (word.t === "begin") {
      begun = begin(word.config, extend);
      begun.catch((error: Error) => {
        console.error(error);
        process.exit(1);
      });
    } else if (word.t === "listen") void begun?.then((http) => http.listen(handle as Server));
    else void begun?.then((http) => http.take(handle as Socket));
  });
  // It has nothing to write down: what it knows comes from the nodes again.
  process.on("disconnect", () => process.exit());
  for (const signal of ["SIGINT", "SIGHUP"] as const) process.on(signal, () => {});
}

async function begin(config: StateServiceConfig, extend: Parameters<typeof runState>[0]): Promise<HttpServer> {
  const log = new NodeLog(config.sessionDir, "info", "state");
  const warn = (message: string): void => log.write("warn", message);
  const access = await Access.open(config.access, warn);
  const control = new ControlClient({ place: config.control, token: access.token, tls: access.tls });
  const links = await Links.open({
    ...config.link,
    tokens: access.tokens,
    tls: access.tls,
    onEvents: (nodeId, batches) => service.tasks.add(nodeId, batches),
  });
  const note: EventLog["add"] = (event) => service.eventLog.add(event);
  const extension = extend({ config, access, ask: control.ask, note, log: warn });
  const { submittedJobs, whyJob } = extension;
  const service = new StateService({ config, links, ask: control.ask, submittedJobs, whyJob, log: warn });
  service.start();
  const http = new HttpServer({ service, config, access, extension, log: warn });
  process.send?.({ t: "ready", link: links.address } satisfies ServiceWord);
  return http;
}
