/** HTTP: who asks is let in or not, and the rest is routes. */
import type { Server as HttpListener } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { Server, Socket } from "node:net";
import { hostname } from "node:os";
import type { Server as SecureServer } from "node:tls";
import { createAdaptorServer } from "@hono/node-server";
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context, Next } from "hono";
import { WebSocketServer } from "ws";
import { MobulaError } from "../base/errors.ts";
import type { StateServiceConfig } from "../node/mod.ts";
import type { Access } from "../transport/mod.ts";
import { ApiAccess, type Role } from "./access.ts";
import { addApi } from "./api.ts";
import { audit } from "./audit.ts";
import { addInspection } from "./inspect-routes.ts";
import { addLogs } from "./log-routes.ts";
import type { Extension } from "./main.ts";
import { addMetrics } from "./metric-routes.ts";
import { refusalPage } from "./pages.ts";
import { serveBoth } from "./protocols.ts";
import type { StateService } from "./service.ts";
import { addFiles } from "./static-files.ts";
import { addTrace } from "./trace-routes.ts";

export interface HttpServerOptions {
  readonly service: StateService;
  readonly config: StateServiceConfig;
  readonly access: Access;
  readonly extension: Pick<Extension, "addRoutes" | "serveHttp2">;
  log(message: string): void;
}

/** What the API answers with by the kind of an error. */
const STATUS: Readonly<Record<MobulaError["kind"], 400 | 404 | 409 | 500 | 502 | 503>> = {
  invalid: 400,
  unavailable: 503,
  exhausted: 503,
  lost: 404,
  cancelled: 409,
  task: 502,
  internal: 500,
};
const REQUEST_MS = 30_000;
/** A package of a gigabyte comes over a slow line. */
const UPLOAD_MS = 30 * 60_000;
/** Nobody says much over a WebSocket here: they carry what is followed. */
const WORDS_BYTES_MAX = 64 * 1024;
const CONNECTIONS_MAX = 1_024;
/** No other site is asked for anything, or may show this one. */
const HEADERS = {
  "content-security-policy":
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
};

export type Env = { readonly Variables: { readonly role: Role } };

export class HttpServer {
  /** What connections come to. */
  private readonly server: Server;

  constructor({ service, config, access, extension, log }: HttpServerOptions) {
    const { port } = new URL(config.url);
    const guard = new ApiAccess({
      tokens: access.tokens,
      cookieName: `mobula-${port}`,
      isOwnHost: (host) => isOwnHost(host, config.url),
      isSecure: config.url.startsWith("https:"),
    });
    const app = new OpenAPIHono<Env>({
      defaultHook: (result, context) => {
        if (result.success) return undefined;
        const [issue] = result.error.issues;
        return context.json(refusal("INVALID_OPTION", `${issue?.path.join(".")}: ${issue?.message}`), 400);
      },
    });
    app.use(async (context, next) => {
      await next();
      for (const [name, value] of Object.entries(HEADERS)) context.header(name, value);
    });
    app.get("/healthz", (context) => context.text("ok\n"));
    app.use(async (context, next) => letIn(guard, context, next));
    app.use((context, next) => audit(context, next, service.eventLog, log));
    app.onError((error, context) => {
      if (!(error instanceof MobulaError)) log(`a request failed: ${error.stack ?? error.message}`);
      const { code, kind } = error instanceof MobulaError ? error : ({ code: "INTERNAL", kind: "internal" } as const);
      return context.json(refusal(code, error.message), statusOf(code, kind));
    });
    app.notFound((context) =>
      context.json(refusal("NOT_FOUND", `there is no ${context.req.path}; /openapi.json says what there is`), 404),
    );
    extension.addRoutes(app, service);
    addApi(app, service);
    addLogs(app, service.links);
    addMetrics(app, service);
    addTrace(app, service);
    addInspection(app, service.links);
    addFiles(app);
    const tls = config.url.startsWith("https:") ? access.tls : undefined;
    const limits = { requestTimeout: UPLOAD_MS, headersTimeout: REQUEST_MS };
    const http1 = createAdaptorServer({
      fetch: app.fetch,
      ...(tls
        ? { createServer: createSecureServer, serverOptions: { ...limits, ...tls.options } }
        : { serverOptions: limits }),
      // They come as requests first, so who opens one is let in by the same rules.
      websocket: { server: new WebSocketServer({ noServer: true, maxPayload: WORDS_BYTES_MAX }) as never },
    }) as HttpListener;
    // Who is slow to ask, or breaks off, ends a connection and nothing else.
    http1.on("clientError", (_error, socket) => socket.destroy());
    if (tls) {
      tls.follow(http1 as unknown as SecureServer);
      http1.maxConnections = CONNECTIONS_MAX;
      this.server = http1;
      return;
    }
    const http2 = extension.serveHttp2(service, (authorization) =>
      guard.decide({ method: "GET", authorization }, Date.now()),
    );
    this.server = serveBoth({ http1, http2, connectionsMax: CONNECTIONS_MAX, silenceMs: REQUEST_MS });
  }

  /** Takes over what its parent has listened on. */
  listen(listening: Server): void {
    this.server.listen(listening);
  }

  /** One that came before this was there. */
  take(socket: Socket | undefined): void {
    // Undefined: it was closed on the way.
    if (!socket) return;
    this.server.emit("connection", socket);
    socket.resume();
  }
}

function statusOf(code: string, kind: MobulaError["kind"]): (typeof STATUS)[MobulaError["kind"]] {
  if (code.endsWith("NOT_FOUND")) return 404;
  return code === "JOB_EXISTS" || code === "JOB_NOT_ENDED" ? 409 : STATUS[kind];
}

/** A link's one-time code becomes a cookie; nobody comes further without a token or that. */
async function letIn(guard: ApiAccess, context: Context<Env>, next: Next): Promise<Response | undefined> {
  const { req } = context;
  const code = req.query("code");
  const isPage = req.header("sec-fetch-mode") === "navigate" || (req.header("accept") ?? "").startsWith("text/html");
  if (code !== undefined && req.method === "GET") {
    const cookie = guard.redeem(code, Date.now());
    if (cookie !== undefined) context.header("set-cookie", cookie);
    // A code that was used before may come from a browser that has its cookie: it is let in by that, or not.
    const url = new URL(req.url);
    url.searchParams.delete("code");
    // Two slashes would lead to another site.
    return context.redirect(url.pathname.replace(/^\/+/, "/") + url.search, 303);
  }
  const decision = guard.decide(
    {
      method: req.method,
      authorization: req.header("authorization"),
      cookie: req.header("cookie"),
      host: req.header("host"),
      origin: req.header("origin"),
    },
    Date.now(),
  );
  if ("role" in decision) {
    context.set("role", decision.role);
    await next();
    return undefined;
  }
  const { status, message } = decision;
  return isPage
    ? context.html(refusalPage(message), status)
    : context.json(refusal(status === 401 ? "AUTHENTICATION" : "FORBIDDEN", message), status);
}

const refusal = (code: string, message: string) => ({ error: { code, message } });

/** By an address, or a name of this machine: a page elsewhere whose name leads here has neither. */
function isOwnHost(host: string, url: string): boolean {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  const own = [new URL(url).hostname, "localhost", hostname().toLowerCase()];
  return own.includes(name) || /^\d+\.\d+\.\d+\.\d+$/.test(name) || /^\[[0-9a-f:]+\]$/.test(name);
}
