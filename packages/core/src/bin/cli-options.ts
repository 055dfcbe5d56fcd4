/** What options of the command line may be, each from its text. */
import { InvalidArgumentError } from "commander";

export function label(text: string, earlier: Readonly<Record<string, string>> = {}): Record<string, string> {
  const [key = "", ...value] = text.split("=");
  if (key.trim() === "" || value.length === 0) throw new InvalidArgumentError("It must be key=value.");
  return { ...earlier, [key.trim()]: value.join("=") };
}

export function amount(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0) {
    throw new InvalidArgumentError("It must be a number of at least 0.");
  }
  return value;
}

export function bytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:(Ki|Mi|Gi|Ti)?B?)$/i.exec(text.trim());
  const power = ["", "ki", "mi", "gi", "ti"].indexOf((match?.[2] ?? "").toLowerCase());
  if (!match) throw new InvalidArgumentError("It must be a number of bytes, such as 1073741824, 512MiB or 4GiB.");
  return Math.round(Number(match[1]) * 1024 ** power);
}

export function resource(text: string, earlier: Readonly<Record<string, number>> = {}): Record<string, number> {
  const at = text.indexOf("=");
  const name = text.slice(0, Math.max(0, at)).trim();
  if (name === "" || ["cpu", "gpu", "memory"].includes(name)) {
    throw new InvalidArgumentError("It must be name=amount, and CPUs, GPUs and memory have options of their own.");
  }
  return { ...earlier, [name]: amount(text.slice(at + 1)) };
}

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** In milliseconds. */
export function duration(text: string): number {
  const [, number, unit = "s"] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h)?$/.exec(text.trim()) ?? [];
  if (number === undefined) throw new InvalidArgumentError("It must be a time, such as 30s, 5m or 500ms.");
  return Math.round(Number(number) * (UNITS_MS[unit] ?? 1));
}

export function port(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 65_535) {
    throw new InvalidArgumentError("It must be a port, 1 to 65535.");
  }
  return value;
}
