/** Numbers and things in words. */
import type { ActorRow } from "../rows.ts";

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

export function bytesText(bytes: number): string {
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${UNITS[unit]}`;
}

export const countText = (count: number): string => Math.round(count).toLocaleString("en-US");

/** Of rates: small ones are no 0. */
export const rateText = (rate: number): string => (rate >= 10 ? countText(rate) : rate.toFixed(1));

export function spanText(ms: number): string {
  if (!Number.isFinite(ms)) return "for ever";
  if (ms < 1) return `${(ms * 1_000).toFixed(0)} µs`;
  if (ms < 1_000) return `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
  const seconds = ms / 1_000;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 7_200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3_600).toFixed(1)} h`;
}

export const shareText = (share: number): string => `${(share * 100).toFixed(0)} %`;

export const actorText = ({ className, name, actorId }: Pick<ActorRow, "className" | "name" | "actorId">): string =>
  `${className}${name === null ? "" : ` "${name}"`} (${actorId})`;

/** `a, b and 3 more` */
export function listText(words: readonly string[], shown = 3): string {
  if (words.length <= shown)
    return words.length < 2 ? (words[0] ?? "") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
  return `${words.slice(0, shown).join(", ")} and ${words.length - shown} more`;
}
