/** Numbers, sizes and times as people read them. */

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export function count(value: number): string {
  return grouped.format(value);
}

/** For tiles: 12,345 as it is, 1.2 M above a hundred thousand. */
export function compact(value: number): string {
  if (Math.abs(value) < 100_000)
    return Number.isInteger(value) || Math.abs(value) >= 100 ? count(value) : digits(value);
  for (const [unit, size] of [
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e3],
  ] as const) {
    if (Math.abs(value) >= size) return `${digits(value / size)} ${unit}`;
  }
  return count(value);
}

export function bytes(value: number | null): string {
  if (value === null) return NONE;
  if (value < 1024) return `${value} B`;
  let size = value;
  let unit = -1;
  do {
    size /= 1024;
    unit++;
  } while (size >= 1023.95 && unit < BINARY_UNITS.length - 1);
  return `${digits(size)} ${BINARY_UNITS[unit]}`;
}
const BINARY_UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB"];

export function duration(ms: number | null): string {
  if (ms === null) return NONE;
  if (ms < 0) return "0 ms";
  if (ms < 1) return `${(ms * 1000).toFixed(0)} µs`;
  if (ms < 1000) return `${ms < 10 ? trim(ms.toFixed(1)) : ms.toFixed(0)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s < 10 ? trim(s.toFixed(1)) : Math.floor(s)} s`;
  const whole = Math.floor(s);
  const pad = (n: number) => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${pad(whole % 60)} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} m`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** In words that do not change each second once a minute has passed. */
export function ago(atMs: number, nowMs: number): string {
  const ms = nowMs - atMs;
  if (ms < -1500) return `in ${duration(-ms)}`;
  if (ms < 1500) return "now";
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86_400)} d ago`;
}

export function absolute(atMs: number): string {
  const at = new Date(atMs);
  const pad = (n: number, width = 2) => String(n).padStart(width, "0");
  const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return `${day} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
}

export function clock(atMs: number): string {
  return absolute(atMs).slice(11, 19);
}

/** What tells ids of one kind apart: of a task its number, which is in the middle; of others their ends. */
export function shortId(id: string): string {
  if (id.length === TASK_ID_LENGTH) return `${id.slice(0, 4)}…${id.slice(32, 40)}`;
  return id.length <= 16 ? id : `${id.slice(0, 6)}…${id.slice(-6)}`;
}

export function percent(value: number | null): string {
  return value === null ? NONE : `${value.toFixed(value < 10 && value > 0 ? 1 : 0)} %`;
}

/** A resource by its name: memory is in bytes. */
export function amount(name: string, value: number): string {
  return /memory/i.test(name) ? bytes(value) : trim(value.toFixed(2));
}

export function resourceList(resources: Readonly<Record<string, number>>): string {
  const parts = Object.entries(resources).filter(([, value]) => value !== 0);
  return parts.length === 0 ? NONE : parts.map(([name, value]) => `${amount(name, value)} ${name}`).join(", ");
}

/** Three significant digits at least, without zeros at the end. */
function digits(value: number): string {
  const size = Math.abs(value);
  return trim(value.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0));
}
function trim(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** The file and its folder, of `folders/folder/file.ts:12`. */
export function shortSite(site: string): string {
  return site.split("/").slice(-2).join("/");
}

/** 24 bytes: who submitted it, its number, its job. */
const TASK_ID_LENGTH = 48;

/** Stands where there is nothing. */
export const NONE = "–";
