/** Functions that cost more to send than to run: tiny ones, called very often; and such that carry much with them. */
import type { Detector, Finding, Observation } from "./detector.ts";
import { Rates } from "./rates.ts";
import { bytesText, countText, spanText } from "./words.ts";

const WINDOW_MS = 10_000;
/** A second: below it, what each costs beside its run does not fill a core. */
const CALLS_PER_SECOND = 2_000;
/** To submit, send and report one costs 20 to 100 microseconds. */
const TINY_MS = 0.2;

const KINDS = { task: "task", "actor-call": "method", "actor-creation": "the making of an actor," } as const;

export class HotCallSite implements Detector {
  readonly kind = "hot-call-site";
  readonly pace = "tasks";
  /** Of the window before it, so 20 s in all. */
  readonly raiseAfterMs = 10_000;
  readonly clearAfterMs = 20_000;
  private readonly rates = new Rates<"ended" | "runMs">(WINDOW_MS);

  *look({ atMs, functions }: Observation): Generator<Finding> {
    const counters = new Map(functions.map(({ kind, name, ended, runMs }) => [`${kind} ${name}`, { ended, runMs }]));
    const grown = this.rates.add(atMs, counters);
    if (!grown) return;
    for (const { kind, name } of functions) {
      const key = `${kind} ${name}`;
      const ended = grown.of(key, "ended");
      const perSecond = (ended / grown.ms) * 1_000;
      const meanMs = grown.of(key, "runMs") / ended;
      if (perSecond < CALLS_PER_SECOND || meanMs > TINY_MS) continue;
      yield {
        key,
        severity: "warning",
        message: `${KINDS[kind]} ${name} ends ${countText(perSecond)} times a second and runs ${spanText(meanMs)} each time: sending one costs more than running it`,
        remedy:
          kind === "actor-creation"
            ? "make fewer actors, and call each again: what one does for one item it can do for the next"
            : `batch them: give each of the ${kind === "task" ? "tasks" : "calls"} many items (an array of 1,000, say), so that it runs for 1 ms and more`,
        subjects: [name],
      };
    }
  }
}

/** A second, at one place. */
const PUTS_PER_SECOND = 2_000;
/** Larger ones are worth a put when they are used more than once. */
const SMALL_BYTES = 1_024;

export class HotPuts implements Detector {
  readonly kind = "hot-call-site";
  readonly pace = "tasks";
  /** Of the window before it, so 20 s in all. */
  readonly raiseAfterMs = 10_000;
  readonly clearAfterMs = 20_000;
  private readonly rates = new Rates<"times" | "bytes">(WINDOW_MS);

  *look({ atMs, puts }: Observation): Generator<Finding> {
    const grown = this.rates.add(atMs, puts as ReadonlyMap<string, Record<"times" | "bytes", number>>);
    if (!grown) return;
    for (const site of puts.keys()) {
      const times = grown.of(site, "times");
      const perSecond = (times / grown.ms) * 1_000;
      const meanBytes = grown.of(site, "bytes") / times;
      if (perSecond < PUTS_PER_SECOND || meanBytes > SMALL_BYTES) continue;
      yield {
        key: site,
        severity: "warning",
        message: `put() at ${site} is called ${countText(perSecond)} times a second with ${bytesText(Math.round(meanBytes))} each: a ref costs more than such a value`,
        remedy:
          "pass small values as they are, as arguments or in what is returned; or put many at once, in one array or object",
        subjects: [site],
      };
    }
  }
}

/** Of one function: with less in them nobody waits for it. */
const PACKED_BYTES = 2 ** 20;
/** Within the window: a function that is packed once, or for each of a few phases, is none. */
const PACKED_TIMES = 20;

export class ClosureBloat implements Detector {
  readonly kind = "closure-bloat";
  readonly pace = "tasks";
  readonly raiseAfterMs = 5_000;
  readonly clearAfterMs = 20_000;
  private readonly rates = new Rates<"times" | "bytes">(WINDOW_MS);

  *look({ atMs, packed }: Observation): Generator<Finding> {
    const grown = this.rates.add(atMs, packed as ReadonlyMap<string, Record<"times" | "bytes", number>>);
    if (!grown) return;
    for (const name of packed.keys()) {
      const times = grown.of(name, "times");
      const bytes = grown.of(name, "bytes");
      // Looks may be further apart than the window is long.
      if ((times / grown.ms) * WINDOW_MS < PACKED_TIMES || bytes / times < PACKED_BYTES) continue;
      yield {
        key: name,
        severity: "warning",
        message: `function ${name} was packed anew ${countText(times)} times in ${spanText(grown.ms)}, each time with ${bytesText(bytes / times)} of values that it has captured: ${bytesText((bytes / grown.ms) * 1_000)} a second`,
        remedy: "put() the large value once and pass its ref as an argument, and call remote() once, outside the loop",
        subjects: [name],
      };
    }
  }
}
