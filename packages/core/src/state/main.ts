/** The state service's process, from its first act to its last. `bin/state.ts` runs it; its parent is node/state-service.ts. */
import type { Server, Socket } from "node:net";
import { NodeLog, type ParentWord, type ServiceWord, type StateServiceConfig } from "../node/mod.ts";
import { Access } from "../transport/mod.ts";
import { ControlClient } from "./control-client.ts";
import { HttpServer } from "./http.ts";
import { Links } from "./links.ts";
import { StateService } from "./service.ts";

export function runState(): void {
  let begun: Promise<HttpServer> | undefined;
  process.on("message", (word: ParentWord, handle: Server | Socket | undefined) => {
    if (word.t === "begin") {
      begun = begin(word.config);
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

async function begin(config: StateServiceConfig): Promise<HttpServer> {
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
  const service = new StateService({ config, links, ask: control.ask, log: warn });
  service.start();
  const http = new HttpServer({ service, config, access, log: warn });
  process.send?.({ t: "ready", link: links.address } satisfies ServiceWord);
  return http;
}
