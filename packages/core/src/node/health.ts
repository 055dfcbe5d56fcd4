/**
 * Readiness and liveness over HTTP, for whoever runs processes for others. Off unless a port is given; nothing secret is
 * said, and nothing can be asked but this.
 */
import type { Server } from "node:http";
import { ConnectionLostError } from "../base/errors.ts";

export interface HealthOptions {
  readonly port: number;
  /** Why it should be given no work; undefined when it is ready. */
  notReady(): string | undefined;
}

/** More at once are turned away: whoever looks does so one at a time. */
const CONNECTIONS_MAX = 64;
const REQUEST_MS = 5_000;

/**
 * `/healthz` answers 200 as long as the process takes up work at all, `/readyz` 200 or 503 with the reason.
 *
 * @throws ConnectionLostError when the port is taken.
 */
export async function startHealth({ port, notReady }: HealthOptions): Promise<Server> {
  // Few need it, so it is loaded only now; a bundle that runs from compiled code cannot `import()`.
  const { createServer } = process.getBuiltinModule("node:http");
  const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }, (request, response) => {
    const reason = request.url === "/readyz" ? notReady() : undefined;
    const isKnown = request.url === "/readyz" || request.url === "/healthz";
    const status = isKnown ? (reason === undefined ? 200 : 503) : 404;
    const text = isKnown ? (reason ?? "ok") : "there are /healthz and /readyz";
    response.writeHead(status, { "content-type": "text/plain; charset=utf-8", connection: "close" }).end(`${text}\n`);
  });
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) =>
      reject(
        new ConnectionLostError(`the port for health, ${port}, cannot be used: ${error.message}`, { cause: error }),
      ),
    );
    server.listen(port, resolve);
  });
  // It answers while the process lives, and does not keep it alive.
  server.unref();
  return server;
}
