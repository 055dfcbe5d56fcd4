/**
 * Traces of OpenTelemetry that follow calls.
 *
 * 1. Who submits makes a span for it, and appends a hidden last argument: the span's context, as the program's
 *    propagator writes it, and the modules that whoever runs the call needs, the API and the program's setup.
 * 2. Those modules come as every module that a value names. They are imported before the call's own code.
 * 3. Who runs it takes the argument off, and runs the call inside a span of its own. What that submits is part of the
 *    trace, so an execution says whether it is traced, and a program only where it begins.
 */

import { setTimeout as delay } from "node:timers/promises";
import type { JobId } from "../base/ids.ts";
import { shipByCustomizer } from "./values.ts";

type Attributes = Readonly<Record<string, string | number | undefined>>;
/** Only the API looks into one. */
type Context = object;

interface Span {
  recordException(error: Error | string): void;
  setStatus(status: { readonly code: number; readonly message?: string }): unknown;
  end(): void;
}

interface Tracer {
  startSpan(name: string, options: { readonly kind: number; readonly attributes: Attributes }, parent?: Context): Span;
}

/** What is used of `@opentelemetry/api`. Not its own types: programs that do not have it are to compile. */
export interface TracingApi {
  readonly trace: {
    getTracer(name: string): Tracer;
    setSpan(context: Context, span: Span): Context;
    getTracerProvider(): object;
  };
  readonly context: { active(): Context; with<T>(context: Context, fn: () => T): T };
  readonly propagation: {
    inject(context: Context, carrier: Record<string, string>): void;
    extract(context: Context, carrier: Readonly<Record<string, string>>): Context;
  };
  readonly ROOT_CONTEXT: Context;
  readonly SpanKind: { readonly PRODUCER: number; readonly CONSUMER: number };
  readonly SpanStatusCode: { readonly ERROR: number };
}

const NAME = "mobula";
const TAG_TRACE = 21;
/** What the exporter has not sent by then is lost with the process, which its node ends after a second. */
const FLUSH_MS = 800;

/** Nothing was ever traced in this process until then, and nothing is looked for. */
let isUsed = false;

export const isTracingUsed = (): boolean => isUsed;

/** One for each pair of modules. */
export class Tracing {
  readonly api: TracingApi;
  /** As values name them: the API, and the setup if there is one. */
  readonly modules: readonly object[];

  constructor(api: TracingApi, modules: readonly object[]) {
    this.api = api;
    this.modules = modules;
    used.add(api);
    isUsed = true;
  }

  /** The arguments of a call, and behind them where its trace goes on. */
  submit(name: string, args: readonly unknown[], jobId: JobId): unknown[] {
    const { trace, context, propagation, SpanKind } = this.api;
    const span = trace.getTracer(NAME).startSpan(`submit ${name}`, {
      kind: SpanKind.PRODUCER,
      attributes: { "code.function.name": name, "mobula.job_id": jobId },
    });
    const carrier: Record<string, string> = {};
    propagation.inject(trace.setSpan(context.active(), span), carrier);
    span.end();
    return [...args, new TraceContext(this, carrier)];
  }
}

/** The hidden argument. */
export class TraceContext {
  readonly tracing: Tracing;
  readonly carrier: Readonly<Record<string, string>>;

  constructor(tracing: Tracing, carrier: Readonly<Record<string, string>>) {
    this.tracing = tracing;
    this.carrier = carrier;
  }

  begin(name: string, attributes: Attributes): TracedRun {
    const { trace, propagation, ROOT_CONTEXT, SpanKind } = this.tracing.api;
    const parent = propagation.extract(ROOT_CONTEXT, this.carrier);
    const span = trace.getTracer(NAME).startSpan(name, { kind: SpanKind.CONSUMER, attributes }, parent);
    return new TracedRun(this.tracing, span, trace.setSpan(parent, span));
  }
}

/** An attempt's span. */
export class TracedRun {
  readonly tracing: Tracing;
  private readonly span: Span;
  private readonly context: Context;

  constructor(tracing: Tracing, span: Span, context: Context) {
    this.tracing = tracing;
    this.span = span;
    this.context = context;
  }

  within<T>(fn: () => T): T {
    return this.tracing.api.context.with(this.context, fn);
  }

  failed(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.span.recordException(error instanceof Error ? error : message);
    this.span.setStatus({ code: this.tracing.api.SpanStatusCode.ERROR, message });
  }

  end(): void {
    this.span.end();
  }
}

/** Takes the hidden argument off, if there is one: user code does not see it. */
export function takeTrace(args: unknown[]): TraceContext | undefined {
  if (!isUsed) return undefined;
  const last = args.length > 0 ? args[args.length - 1] : undefined;
  if (!(last instanceof TraceContext)) return undefined;
  args.pop();
  return last;
}

// ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Those that spans were made with here. */
const used = new Set<TracingApi>();

interface Provider {
  getDelegate?(): Provider;
  forceFlush?(): Promise<void>;
}

/** Undefined when nothing was ever traced here. */
export function flushTraces(): Promise<void> | undefined {
  return used.size === 0 ? undefined : flushNow();
}

async function flushNow(): Promise<void> {
  const flushed = [...used].map(async ({ trace }) => {
    // The API has no flush; the providers of its SDK do.
    const given = trace.getTracerProvider() as Provider;
    await (given.getDelegate?.() ?? given).forceFlush?.();
  });
  const late = new AbortController();
  await Promise.race([
    Promise.all(flushed).catch((error) =>
      console.error("mobula: the last spans of this process were not exported:", error),
    ),
    delay(FLUSH_MS, undefined, { signal: late.signal }).catch(() => {}),
  ]);
  late.abort();
}

// ── on the way ───────────────────────────────────────────────────────────────────────────────────────────────────────

const arrived = new WeakMap<object, Tracing>();

shipByCustomizer(TAG_TRACE, TAG_TRACE, {
  encode(value) {
    if (!(value instanceof TraceContext)) return undefined;
    return { tag: TAG_TRACE, head: value.carrier, early: value.tracing.modules };
  },
  begin(_tag, head, early) {
    const modules = early as readonly object[];
    const [api, setup = api] = modules as readonly [object, object?];
    let tracing = arrived.get(setup);
    if (tracing?.api !== api) {
      tracing = new Tracing(api as TracingApi, modules);
      arrived.set(setup, tracing);
    }
    return { value: new TraceContext(tracing, head as TraceContext["carrier"]) };
  },
});
