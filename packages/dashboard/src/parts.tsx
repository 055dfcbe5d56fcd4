/** Small things that all pages are made of. */
import { type ReactNode, useState, useSyncExternalStore } from "react";
import { type ApiError, type List, listPath, serverNow } from "./api.ts";
import { absolute, ago, amount, bytes, NONE, percent, shortId } from "./format.ts";
import { Icon } from "./icons.tsx";
import { href } from "./router.ts";
import type { NodeRow } from "./rows.ts";
import { useQuery } from "./use-query.ts";

export type Tone = "ok" | "run" | "wait" | "bad" | "off";

const tones: Readonly<Record<string, Tone>> = {
  alive: "ok",
  succeeded: "ok",
  finished: "ok",
  created: "ok",
  memory: "ok",
  inline: "ok",
  running: "run",
  busy: "run",
  actor: "run",
  waiting: "wait",
  queued: "wait",
  pending: "wait",
  starting: "wait",
  restarting: "wait",
  rescheduling: "wait",
  draining: "wait",
  spilled: "wait",
  preempted: "wait",
  warning: "wait",
  failed: "bad",
  lost: "bad",
  infeasible: "bad",
  error: "bad",
};
function toneOf(state: string): Tone {
  return tones[state] ?? "off";
}

/** `dead` is bad for a node, and the usual end of an actor or worker: those who show it say so. */
export function State({ state, tone }: { state: string; tone?: Tone }) {
  return <span className={`pill ${tone ?? toneOf(state)}`}>{state}</span>;
}

// One clock for all ages on the page; it stands still while nobody looks.
let clockMs = serverNow();
const clockListeners = new Set<() => void>();
setInterval(() => {
  if (document.hidden) return;
  clockMs = serverNow();
  for (const listener of clockListeners) listener();
}, 1000);
function subscribeClock(listener: () => void): () => void {
  clockListeners.add(listener);
  return () => clockListeners.delete(listener);
}

function useAge(atMs: number): string {
  return useSyncExternalStore(subscribeClock, () => ago(atMs, Math.max(clockMs, serverNow() - 1000)));
}

export function Ago({ atMs }: { atMs: number | null }) {
  return atMs === null ? <span className="muted">{NONE}</span> : <AgoKnown atMs={atMs} />;
}
function AgoKnown({ atMs }: { atMs: number }) {
  const text = useAge(atMs);
  return (
    <time className="nowrap" dateTime={new Date(atMs).toISOString()} title={absolute(atMs)}>
      {text}
    </time>
  );
}

/** Where a kind of thing has its page. */
export type LinkKind =
  | "nodes"
  | "workers"
  | "tasks"
  | "actors"
  | "objects"
  | "placement-groups"
  | "jobs"
  | "events"
  | "logs";

export function IdLink({ kind, id, text }: { kind: LinkKind; id: string | null; text?: string }) {
  if (id === null) return <span className="muted">{NONE}</span>;
  return (
    <a className={text === undefined ? "mono" : ""} href={href([kind, id])} title={id}>
      {text ?? shortId(id)}
    </a>
  );
}

/** A node by its name, where that is known. */
export function NodeLink({ id }: { id: string | null }) {
  return id === null ? <span className="muted">{NONE}</span> : <KnownNodeLink id={id} />;
}
function KnownNodeLink({ id }: { id: string }) {
  const { data } = useQuery<List<NodeRow>>(NODE_NAMES, 15_000);
  const name = data?.rows.find(({ nodeId }) => nodeId === id)?.name;
  return <IdLink kind="nodes" id={id} {...(name === undefined ? {} : { text: name })} />;
}
const NODE_NAMES = listPath("nodes", [], 1000);

export function CopyId({ id }: { id: string }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(id);
      setCopied(true);
      setTimeout(() => setCopied(false), 1500);
    } catch {
      // Without https there may be no clipboard: the id stands there to be selected.
    }
  };
  return (
    <span className="copy-id">
      <span className="mono wrap">{id}</span>
      <button type="button" title="Copy" aria-label={`Copy ${id}`} onClick={() => void copy()}>
        <Icon name={isCopied ? "copied" : "copy"} />
      </button>
    </span>
  );
}

/** A share as a bar, with its words. */
export function Bar({ used, total, tone }: { used: number; total: number; tone?: Tone }) {
  const share = total > 0 ? Math.min(1, used / total) : 0;
  const shown = tone ?? (share > 0.95 ? "bad" : share > 0.85 ? "wait" : "run");
  return (
    <span className="bar" aria-hidden="true">
      <span className={shown} style={{ width: `${share * 100}%` }} />
    </span>
  );
}

export function InlineMeter({ used, total, text }: { used: number; total: number; text: string }) {
  return (
    <span className="inline-meter">
      <Bar used={used} total={total} />
      <span className="text">{text}</span>
    </span>
  );
}

export function PercentMeter({ value }: { value: number | null }) {
  if (value === null) return <span className="muted">{NONE}</span>;
  return <InlineMeter used={value} total={100} text={percent(value)} />;
}

export function BytesMeter({ used, total }: { used: number | null; total: number | null }) {
  if (used === null || total === null || total === 0) return <span className="muted">{bytes(used)}</span>;
  return <InlineMeter used={used} total={total} text={percent((used / total) * 100)} />;
}

export function ResourceMeter({ name, used, total }: { name: string; used: number; total: number }) {
  return (
    <div>
      <div className="meter-head">
        <span>{name}</span>
        <span>
          {amount(name, used)} <span className="muted">of {amount(name, total)}</span>
        </span>
      </div>
      <Bar used={used} total={total} tone={used > total ? "bad" : "run"} />
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <strong>{title}</strong>
      {children}
    </div>
  );
}

/** What went wrong, and what happens or can be done next. */
export function Failure({ error, hasData, retry }: { error: ApiError; hasData: boolean; retry?: () => void }) {
  return (
    <div className={`notice ${hasData ? "wait" : "bad"}`} role="status">
      <span>
        {hasData && <strong>This is not fresh. </strong>}
        {error.message}
      </span>
      {error.status === 403 && (
        <span className="muted">
          This link is read-only; <code>mobula dashboard</code> prints one that may change things.
        </span>
      )}
      {error.status >= 500 && <span className="muted">It is asked again by itself.</span>}
      {retry !== undefined && (
        <button type="button" className="button plain" onClick={retry}>
          Try now
        </button>
      )}
    </div>
  );
}

export function Partial({ reasons }: { reasons: readonly string[] | undefined }) {
  if (reasons === undefined || reasons.length === 0) return null;
  const [first, ...rest] = reasons;
  return (
    <div className="notice wait" role="status">
      <span>
        <strong>Not everything is here.</strong> {first}
        {rest.length > 0 && ` And ${rest.length} more: ${rest.slice(0, 3).join("; ")}${rest.length > 3 ? " …" : ""}`}
      </span>
    </div>
  );
}

export function Card({
  title,
  aside,
  children,
  flush = false,
  className = "",
}: {
  title: string;
  className?: string;
  aside?: ReactNode;
  children: ReactNode;
  flush?: boolean;
}) {
  return (
    <section className={`card ${className}`} aria-label={title}>
      <div className="card-head">
        <h2>{title}</h2>
        {aside !== undefined && <div>{aside}</div>}
      </div>
      {flush ? children : <div className="card-body">{children}</div>}
    </section>
  );
}

export interface Fact {
  readonly name: string;
  readonly value: ReactNode;
  readonly wide?: boolean;
}
export function Facts({ facts }: { facts: readonly (Fact | false | null)[] }) {
  return (
    <dl className="facts">
      {facts
        .filter((fact) => fact !== false && fact !== null)
        .map(({ name, value, wide }) => (
          <div key={name} className={wide ? "wide" : ""}>
            <dt>{name}</dt>
            <dd>{value ?? NONE}</dd>
          </div>
        ))}
    </dl>
  );
}

export function Tabs({
  tabs,
  current,
  linkTo,
}: {
  tabs: readonly (readonly [key: string, title: string])[];
  current: string;
  linkTo: (key: string) => string;
}) {
  return (
    <nav className="tabs" aria-label="Views">
      {tabs.map(([key, title]) => (
        <a key={key} href={linkTo(key)} aria-current={key === current ? "page" : undefined}>
          {title}
        </a>
      ))}
    </nav>
  );
}
