/**
 * Runs the detectors and keeps what they have found: an alarm is raised when something has looked wrong for long enough, once,
 * and is over when it has not for long enough. So nothing flaps, and one look at an unlucky moment is no alarm.
 */
import type { EventRow } from "../rows.ts";
import type { Detector, Finding, Observation, Pace } from "./detector.ts";

/** Of one detector: the first ones say what is wrong. */
const ALARMS_MAX = 20;
/** What is suspected begins anew when nobody has looked for so many times the usual. */
const GAP_MS: Readonly<Record<Pace, number>> = { control: 10_000, tasks: 45_000, objects: 60_000 };

interface Suspicion {
  finding: Finding;
  readonly sinceMs: number;
  lastMs: number;
  event: EventRow | undefined;
}

export class Alarms {
  private readonly detectors: readonly Detector[];
  private readonly note: (event: Omit<EventRow, "eventId" | "count" | "by">) => EventRow;
  private readonly suspicions = new Map<Detector, Map<string, Suspicion>>();
  private readonly lastLookMs = new Map<Detector, number>();

  constructor(detectors: readonly Detector[], note: Alarms["note"]) {
    this.detectors = detectors;
    this.note = note;
    for (const detector of detectors) this.suspicions.set(detector, new Map());
  }

  /** Those of this pace look. */
  look(pace: Pace, observation: Observation): void {
    for (const detector of this.detectors) if (detector.pace === pace) this.lookWith(detector, observation);
  }

  private lookWith(detector: Detector, observation: Observation): void {
    const { atMs } = observation;
    const known = this.suspicions.get(detector) ?? new Map<string, Suspicion>();
    if (atMs - (this.lastLookMs.get(detector) ?? atMs) > GAP_MS[detector.pace])
      for (const [key, { event }] of known) if (!event) known.delete(key);
    this.lastLookMs.set(detector, atMs);
    for (const finding of detector.look(observation)) {
      let suspicion = known.get(finding.key);
      if (!suspicion) {
        if (known.size >= ALARMS_MAX) continue;
        suspicion = { finding, sinceMs: atMs, lastMs: atMs, event: undefined };
        known.set(finding.key, suspicion);
      }
      suspicion.finding = finding;
      suspicion.lastMs = atMs;
      if (!suspicion.event && atMs - suspicion.sinceMs >= detector.raiseAfterMs)
        suspicion.event = this.note({ ...told(finding), kind: detector.kind, atMs });
    }
    for (const [key, { finding, sinceMs, lastMs, event }] of known) {
      if (lastMs === atMs) continue;
      if (event && atMs - lastMs < detector.clearAfterMs) continue;
      known.delete(key);
      if (!event) continue;
      const message = `over, after ${((lastMs - sinceMs) / 1_000).toFixed(0)} s: ${finding.message}`;
      this.note({ ...told(finding), severity: "info", remedy: null, message, kind: detector.kind, atMs });
    }
  }

  /** Those that are not over, as they are now; the newest first. */
  current(): readonly EventRow[] {
    const raised = [...this.suspicions.values()].flatMap((known) =>
      [...known.values()].flatMap(({ event, finding }) => (event ? [{ ...event, ...told(finding) }] : [])),
    );
    return raised.sort((a, b) => b.atMs - a.atMs);
  }

  /** @param subjects ids and names; what is said of any of them. */
  about(...subjects: readonly string[]): readonly EventRow[] {
    return this.current().filter((alarm) => alarm.subjects.some((one) => subjects.includes(one)));
  }

  isKind(kind: string): boolean {
    return this.detectors.some((detector) => detector.kind === kind);
  }
}

const told = ({ severity, message, remedy, subjects }: Finding) => ({
  ...{ severity, message, remedy },
  subjects: [...subjects],
});
