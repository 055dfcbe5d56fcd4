/**
 * Where the reader is, in the part of the URL after `#`: `#/tasks/ab12?filter=state=failed&tab=graph`. The server never
 * sees it, so every page can be reloaded, and no page's path is in the way of a path of the API.
 */
import { useCallback, useMemo, useSyncExternalStore } from "react";

export interface Route {
  /** Without slashes: `["tasks", "ab12"]`. */
  readonly segments: readonly string[];
  readonly params: URLSearchParams;
}

export function parseRoute(hash: string): Route {
  const text = hash.replace(/^#\/?/, "");
  const at = text.indexOf("?");
  const path = at < 0 ? text : text.slice(0, at);
  return {
    segments: path.split("/").filter(Boolean).map(decode),
    params: new URLSearchParams(at < 0 ? "" : text.slice(at + 1)),
  };
}

/** A link: `href(["tasks", id], { tab: "why" })`. */
export function href(segments: readonly string[], params: Readonly<Record<string, Param>> = {}): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    for (const one of typeof value === "string" ? [value] : (value ?? [])) query.append(key, one);
  }
  const text = readable(query);
  return `#/${segments.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
}
export type Param = string | readonly string[] | undefined;

export function useRoute(): Route {
  const hash = useSyncExternalStore(subscribe, () => location.hash);
  return useMemo(() => parseRoute(hash), [hash]);
}

/** Changes some parameters of the page. It is one step of the history only when `step` says so. */
export function useParams(): [URLSearchParams, (changes: Readonly<Record<string, Param>>, step?: boolean) => void] {
  const { params } = useRoute();
  const change = useCallback((changes: Readonly<Record<string, Param>>, step = false) => {
    const { segments, params: current } = parseRoute(location.hash);
    const next = new URLSearchParams(current);
    for (const [key, value] of Object.entries(changes)) {
      next.delete(key);
      for (const one of typeof value === "string" ? [value] : (value ?? [])) if (one !== "") next.append(key, one);
    }
    const text = readable(next);
    const hash = `#/${segments.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
    if (step) location.hash = hash;
    else {
      history.replaceState(null, "", hash);
      for (const listener of listeners) listener();
    }
  }, []);
  return [params, change];
}

export function navigate(to: string): void {
  location.hash = to;
}

const listeners = new Set<() => void>();
function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  addEventListener("hashchange", listener);
  return () => {
    listeners.delete(listener);
    removeEventListener("hashchange", listener);
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // A hand-typed URL with a lone %: it names nothing, and the page says so.
  }
}

/** Filters stay readable: `filter=state=failed`. */
function readable(params: URLSearchParams): string {
  return params.toString().replaceAll("%3D", "=").replaceAll("%2F", "/").replaceAll("%3A", ":").replaceAll("%7E", "~");
}
