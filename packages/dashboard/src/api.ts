/**
 * The HTTP API, from the browser: same origin, a cookie for access. Nothing is asked while the tab is hidden, and what
 * was shown stays until something newer is there.
 */
import type { Listed, RowKind } from "./rows.ts";

const API = "./api/v1/";

export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
  }
}

/** Asks the API, and gives its answer, or throws an {@link ApiError}. Paths are relative to `/api/v1/`. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(API + path, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "UNREACHABLE", "The state service does not answer. It is asked again in a few seconds.");
  }
  if (response.ok) {
    setSignedIn(true);
    return response;
  }
  if (response.status === 401) setSignedIn(false);
  const body: unknown = await response.json().catch(() => null);
  const { code, message } = errorOf(body);
  throw new ApiError(
    response.status,
    code ?? `HTTP_${response.status}`,
    message ?? `The state service answered ${response.status} to ${path}.`,
  );
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, signal === undefined ? {} : { signal });
  const value = (await response.json()) as T; // The service answers by its schemas, of which T is the type.
  noteTime(value);
  return value;
}

export async function postJson<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const response = await request(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    ...(signal === undefined ? {} : { signal }),
  });
  const text = await response.text();
  return (response.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text) as T;
}

export function listPath(
  kind: RowKind,
  filters: readonly string[],
  limit: number,
  { sort = "" }: { readonly sort?: string } = {},
): string {
  const query = new URLSearchParams();
  for (const filter of filters) query.append("filter", filter);
  query.set("limit", String(limit));
  if (sort !== "") query.set("sort", sort);
  return `${kind}?${query}`;
}

export type List<R> = Listed<R>;

function errorOf(body: unknown): { code?: string; message?: string } {
  if (typeof body !== "object" || body === null || !("error" in body)) return {};
  const { error } = body;
  if (typeof error !== "object" || error === null) return {};
  const { code, message } = error as Record<string, unknown>;
  return {
    ...(typeof code === "string" ? { code } : {}),
    ...(typeof message === "string" ? { message } : {}),
  };
}

// ── Access: one 401 anywhere shows the page that says how to get a link; a later success takes it away. ──

let isSignedIn = true;
const accessListeners = new Set<() => void>();
function setSignedIn(value: boolean): void {
  if (value === isSignedIn) return;
  isSignedIn = value;
  for (const listener of accessListeners) listener();
}
export const access = {
  get: () => isSignedIn,
  subscribe(listener: () => void): () => void {
    accessListeners.add(listener);
    return () => accessListeners.delete(listener);
  },
};

// ── The service's clock: ages are right also in a browser whose clock is not. ──

let skewMs = 0;
function noteTime(value: unknown): void {
  if (typeof value !== "object" || value === null || !("asOfMs" in value) || typeof value.asOfMs !== "number") return;
  const measured = value.asOfMs - Date.now();
  // An answer is up to a second old: only more than that is a difference of clocks.
  skewMs = Math.abs(measured) < 2000 ? 0 : measured;
}
export function serverNow(): number {
  return Date.now() + skewMs;
}

// ── Server-sent events ──

export type StreamState = "connecting" | "open" | "waiting" | "paused";
export interface Stream {
  close(): void;
}
interface StreamOptions {
  /** Names of events, beside `message`. */
  readonly events: readonly string[];
  onEvent(name: string, data: string): void;
  onState?(state: StreamState): void;
  /** The server ended it: there is nothing more. Without it a lost connection is opened again. */
  onEnd?(): void;
}

/** Longest wait between two attempts to connect. */
const RETRY_MS_MAX = 20_000;
const RETRY_MS_MIN = 500;

/** Opens a stream; it is closed while the tab is hidden, and opened again with growing waits when it breaks. */
export function openStream(path: string, options: StreamOptions): Stream {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let retryMs = RETRY_MS_MIN;
  let isClosed = false;

  const disconnect = () => {
    source?.close();
    source = undefined;
    clearTimeout(timer);
    timer = undefined;
  };
  const connect = () => {
    disconnect();
    options.onState?.("connecting");
    const opened = new EventSource(API + path);
    source = opened;
    opened.onopen = () => {
      retryMs = RETRY_MS_MIN;
      options.onState?.("open");
    };
    opened.onerror = () => {
      if (source !== opened) return;
      disconnect();
      options.onState?.("waiting");
      // Half of the wait is random: a thousand tabs do not come back in one moment.
      timer = setTimeout(connect, retryMs / 2 + Math.random() * (retryMs / 2));
      retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
    };
    for (const name of ["message", ...options.events]) {
      opened.addEventListener(name, (event) => options.onEvent(name, String((event as MessageEvent).data)));
    }
    opened.addEventListener("end", () => {
      close();
      options.onEnd?.();
    });
  };
  const onVisibility = () => {
    if (document.hidden) {
      disconnect();
      options.onState?.("paused");
    } else if (source === undefined) connect();
  };
  const close = () => {
    if (isClosed) return;
    isClosed = true;
    document.removeEventListener("visibilitychange", onVisibility);
    disconnect();
  };
  document.addEventListener("visibilitychange", onVisibility);
  if (document.hidden) options.onState?.("paused");
  else connect();
  return { close };
}
