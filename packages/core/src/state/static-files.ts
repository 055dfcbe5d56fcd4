/** The dashboard's files. */
import { existsSync, readFileSync } from "node:fs";
import { extname, join, normalize } from "node:path";
import type { OpenAPIHono } from "@hono/zod-openapi";
import { dashboardFiles } from "./dashboard-files.ts";
import type { Env } from "./http.ts";
import { escapeHtml } from "./pages.ts";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".woff2": "font/woff2",
  ".png": "image/png",
  ".ico": "image/x-icon",
  ".webmanifest": "application/manifest+json",
};
/** Their names change with what is in them. */
const HASHED = /^assets\//;

export function addFiles(app: OpenAPIHono<Env>): void {
  app.get("*", (context, next) => {
    const { path } = context.req;
    if (path.startsWith("/api/") || path === "/metrics") return next();
    const folder = dashboardFiles();
    if (folder === undefined) {
      const text = "the dashboard is not built here; npm run build makes it. The API is at /api/v1, see /openapi.json";
      return Promise.resolve(context.html(`<!doctype html><title>Mobula</title><p>${escapeHtml(text)}.</p>`, 200));
    }
    const name = normalize(decodeURIComponent(path)).replace(/^[/\\]+/, "");
    const isFile = name !== "" && !name.startsWith("..") && extname(name) in TYPES && existsSync(join(folder, name));
    // Everything else is a page, which the program in the browser tells apart.
    const served = isFile ? name : "index.html";
    const accepts = context.req.header("accept-encoding") ?? "";
    const packed = (
      [
        ["br", ".br"],
        ["gzip", ".gz"],
      ] as const
    ).find(([encoding, suffix]) => accepts.includes(encoding) && existsSync(join(folder, served + suffix)));
    const body = readFileSync(join(folder, served + (packed?.[1] ?? "")));
    return Promise.resolve(
      context.body(new Uint8Array(body), 200, {
        "content-type": TYPES[extname(served)] ?? "application/octet-stream",
        "cache-control": HASHED.test(served) ? "public, max-age=31536000, immutable" : "no-cache",
        ...(packed && { "content-encoding": packed[0], vary: "accept-encoding" }),
      }),
    );
  });
}
