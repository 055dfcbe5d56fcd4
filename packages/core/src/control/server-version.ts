/** Whether a version `1.2.3`, with anything after it, comes before another one. What is no version is older than all. */
export function isOlder(version: string, than: string): boolean {
  const found = numbers(version);
  const wanted = numbers(than);
  if (found.length < 3) return true;
  for (let n = 0; n < 3; n++) {
    const difference = (found[n] ?? 0) - (wanted[n] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

const numbers = (version: string): number[] => (/^v?(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1) ?? []).map(Number);
