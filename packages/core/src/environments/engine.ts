/**
 * Which environments of a machine are made ready when, and what of the cache is thrown away. Pure: events and the time in, orders
 * out; `environments.ts` carries them out.
 *
 * - Few are built at a time, in the order in which they were needed; each has a time limit from its beginning on.
 * - One that nobody needs any more is not built on.
 * - When the cache is larger than its limit, what nobody uses goes, the longest unused first.
 */
import { unreachable } from "../base/assert.ts";

export interface CachedUnit {
  readonly name: string;
  readonly bytes: number;
  readonly usedAtMs: number;
  /** By this node or another one of the machine. */
  readonly isUsed: boolean;
}

export type EnvironmentEvent =
  | { readonly kind: "needed"; readonly key: string; readonly timeoutMs: number }
  | { readonly kind: "released"; readonly key: string }
  /** Ends of what `build` began; `failed` also after `stop`. */
  | { readonly kind: "built"; readonly key: string }
  | { readonly kind: "failed"; readonly key: string; readonly message: string }
  /** What lies in the cache now. */
  | { readonly kind: "counted"; readonly units: readonly CachedUnit[] }
  | { readonly kind: "tick" };

export type EnvironmentCommand =
  | { readonly kind: "build"; readonly key: string }
  | { readonly kind: "stop"; readonly key: string; readonly reason: string }
  | { readonly kind: "ready"; readonly key: string }
  | { readonly kind: "failed"; readonly key: string; readonly message: string }
  | { readonly kind: "remove"; readonly name: string };

interface Build {
  readonly timeoutMs: number;
  state: "queued" | "building" | "stopping";
  deadlineMs: number;
  /** Somebody waits for it. */
  isNeeded: boolean;
  /** It is being stopped because it took too long: then it has failed. */
  isLate: boolean;
}

/** More at once make each other late: npm is bound by the network and the disk. */
const BUILDS_MAX = 2;
const NEVER = Number.POSITIVE_INFINITY;
/** What is left when something is thrown away. */
const KEPT_PART = 0.9;

export class EnvironmentEngine {
  private readonly bytesMax: number;
  private readonly builds = new Map<string, Build>();

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  step(event: EnvironmentEvent, nowMs: number): EnvironmentCommand[] {
    const out: EnvironmentCommand[] = [];
    this.apply(event, out);
    this.expire(nowMs, out);
    this.begin(nowMs, out);
    return out;
  }

  /** Builds that are not begun yet, before this one. */
  ahead(key: string): number {
    let count = 0;
    for (const [name, { state }] of this.builds) {
      if (name === key) break;
      if (state === "queued") count++;
    }
    return count;
  }

  nextDeadlineMs(): number | undefined {
    let next: number | undefined;
    for (const { state, deadlineMs } of this.builds.values()) {
      if (state === "building") next = Math.min(next ?? Number.POSITIVE_INFINITY, deadlineMs);
    }
    return next;
  }

  private apply(event: EnvironmentEvent, out: EnvironmentCommand[]): void {
    switch (event.kind) {
      case "needed": {
        const known = this.builds.get(event.key);
        if (known) known.isNeeded = true;
        else {
          const { key, timeoutMs } = event;
          this.builds.set(key, { timeoutMs, state: "queued", deadlineMs: NEVER, isNeeded: true, isLate: false });
        }
        return;
      }
      case "released": {
        const build = this.builds.get(event.key);
        if (!build) return;
        build.isNeeded = false;
        if (build.state === "queued") this.builds.delete(event.key);
        else this.stop(event.key, build, "nobody needs it any more", out);
        return;
      }
      case "built":
      case "failed": {
        const build = this.builds.get(event.key);
        if (!build) return;
        this.builds.delete(event.key);
        if (!build.isNeeded) return;
        if (event.kind === "built") out.push({ kind: "ready", key: event.key });
        else if (build.state === "building" || build.isLate)
          out.push({ kind: "failed", key: event.key, message: event.message });
        // It was needed again while it was being stopped.
        else this.builds.set(event.key, { ...build, state: "queued", deadlineMs: NEVER });
        return;
      }
      case "counted":
        this.trim(event.units, out);
        return;
      case "tick":
        return;
      default:
        unreachable(event);
    }
  }

  private expire(nowMs: number, out: EnvironmentCommand[]): void {
    for (const [key, build] of this.builds) {
      if (build.state !== "building" || nowMs < build.deadlineMs) continue;
      build.isLate = true;
      const reason = `it was not ready within ${build.timeoutMs / 1000} s; runtimeEnv.timeoutMs allows for more`;
      this.stop(key, build, reason, out);
    }
  }

  private stop(key: string, build: Build, reason: string, out: EnvironmentCommand[]): void {
    if (build.state === "stopping") return;
    build.state = "stopping";
    out.push({ kind: "stop", key, reason });
  }

  private begin(nowMs: number, out: EnvironmentCommand[]): void {
    let running = 0;
    for (const { state } of this.builds.values()) if (state !== "queued") running++;
    for (const [key, build] of this.builds) {
      if (running >= BUILDS_MAX) return;
      if (build.state !== "queued") continue;
      build.state = "building";
      build.deadlineMs = nowMs + build.timeoutMs;
      running++;
      out.push({ kind: "build", key });
    }
  }

  private trim(units: readonly CachedUnit[], out: EnvironmentCommand[]): void {
    let bytes = units.reduce((sum, unit) => sum + unit.bytes, 0);
    if (bytes <= this.bytesMax) return;
    const unused = units.filter(({ isUsed }) => !isUsed).sort((a, b) => a.usedAtMs - b.usedAtMs);
    for (const unit of unused) {
      if (bytes <= this.bytesMax * KEPT_PART) return;
      bytes -= unit.bytes;
      out.push({ kind: "remove", name: unit.name });
    }
  }
}
