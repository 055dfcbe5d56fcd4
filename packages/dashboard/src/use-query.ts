/**
 * Answers of the API for components: asked again every few seconds while somebody looks, shared by all that show them.
 *
 * An entry lives as long as something shows it, and a minute longer, so that going back is instant. A failed
 * refresh keeps the last answer and says that it is old.
 */
import { useCallback, useEffect, useRef, useSyncExternalStore } from "react";
import { ApiError, getJson } from "./api.ts";

export interface Answer<T> {
  readonly data: T | undefined;
  readonly error: ApiError | undefined;
  /** The answer is of an earlier question (other filters), while the new one is on its way. */
  readonly isOld: boolean;
  refresh(): void;
}

interface Entry {
  state: { data: unknown; error: ApiError | undefined };
  readonly listeners: Set<() => void>;
  everyMs: number;
  timer: ReturnType<typeof setTimeout> | undefined;
  abort: AbortController | undefined;
  failures: number;
  askedAtMs: number;
}

const entries = new Map<string, Entry>();
/** How long an answer that nobody shows is kept. */
const KEPT_MS = 60_000;
/** After failures the wait doubles up to this. */
const RETRY_MS_MAX = 30_000;

export function useQuery<T>(path: string | null, everyMs = 2000): Answer<T> {
  const subscribe = useCallback(
    (listener: () => void) => (path === null ? () => undefined : watch(path, everyMs, listener)),
    [path, everyMs],
  );
  const state = useSyncExternalStore(subscribe, () => (path === null ? EMPTY : (entries.get(path)?.state ?? EMPTY)));
  const last = useRef<{ kind: string; data: unknown }>({ kind: "", data: undefined });
  const kind = path === null ? "" : path.replace(/\?.*/, "");
  const isOld = state.data === undefined && last.current.kind === kind && last.current.data !== undefined;
  const data = isOld ? last.current.data : state.data;
  useEffect(() => {
    if (state.data !== undefined) last.current = { kind, data: state.data };
  }, [kind, state.data]);
  const refresh = useCallback(() => {
    if (path !== null) void ask(path);
  }, [path]);
  // The path decides the type, as the API says.
  return { data: data as T | undefined, error: state.error, isOld, refresh };
}
const EMPTY: Entry["state"] = { data: undefined, error: undefined };

/** Puts an answer that came another way, by a stream. */
export function put(path: string, data: unknown): void {
  const entry = entries.get(path);
  if (entry === undefined) return;
  update(entry, { data, error: undefined });
  // What is pushed needs no question until the stream has been silent for longer than it may.
  schedule(path, entry, Math.max(entry.everyMs, 5000));
}

/** Asks again at once whatever is shown under these paths. */
export function refreshAll(startsWith: string): void {
  for (const [path, entry] of entries) {
    if (path.startsWith(startsWith) && entry.listeners.size > 0) void ask(path);
  }
}

function watch(path: string, everyMs: number, listener: () => void): () => void {
  let entry = entries.get(path);
  if (entry === undefined) {
    entry = {
      state: EMPTY,
      listeners: new Set(),
      everyMs,
      timer: undefined,
      abort: undefined,
      failures: 0,
      askedAtMs: 0,
    };
    entries.set(path, entry);
  }
  const watched = entry;
  watched.everyMs = everyMs;
  watched.listeners.add(listener);
  if (watched.listeners.size === 1) {
    const age = performance.now() - watched.askedAtMs;
    if (watched.state.data === undefined || age >= everyMs) void ask(path);
    else schedule(path, watched, everyMs - age);
  }
  return () => {
    watched.listeners.delete(listener);
    if (watched.listeners.size > 0) return;
    clearTimeout(watched.timer);
    watched.timer = setTimeout(() => {
      watched.abort?.abort();
      entries.delete(path);
    }, KEPT_MS);
  };
}

async function ask(path: string): Promise<void> {
  const entry = entries.get(path);
  if (entry === undefined || document.hidden) return;
  entry.abort?.abort();
  const abort = new AbortController();
  entry.abort = abort;
  entry.askedAtMs = performance.now();
  clearTimeout(entry.timer);
  try {
    const data = await getJson<unknown>(path, abort.signal);
    entry.failures = 0;
    update(entry, { data, error: undefined });
  } catch (error) {
    if (abort.signal.aborted) return;
    entry.failures++;
    const shown = error instanceof ApiError ? error : new ApiError(0, "INTERNAL", String(error));
    // What no longer exists is not shown as if it did; what could not be asked stays.
    update(entry, { data: shown.status === 404 ? undefined : entry.state.data, error: shown });
  }
  if (entry.abort === abort) entry.abort = undefined;
  if (entry.everyMs > 0 && entry.listeners.size > 0) {
    schedule(path, entry, Math.min(entry.everyMs * 2 ** Math.min(entry.failures, 5), RETRY_MS_MAX));
  }
}

function schedule(path: string, entry: Entry, ms: number): void {
  clearTimeout(entry.timer);
  entry.timer = setTimeout(() => void ask(path), ms);
}

function update(entry: Entry, state: Entry["state"]): void {
  entry.state = state;
  for (const listener of entry.listeners) listener();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const [path, entry] of entries) if (entry.listeners.size > 0) void ask(path);
});
