/** Warnings about the classic mistakes: each once in a process, each with its remedy. */

const given = new Set<string>();

/** Prints a warning unless one with this key was printed before. MOBULA_LOG=error silences them. */
export function warnOnce(key: string, message: string): void {
  if (given.has(key) || process.env.MOBULA_LOG === "error") return;
  given.add(key);
  process.stderr.write(`mobula: warning: ${message}\n`);
}
