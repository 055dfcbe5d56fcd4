/** Takes out of a text what opens doors: tokens of clusters, and what looks like a password in an environment or an address. */
const PATTERNS: readonly RegExp[] = [
  /\b((?:[A-Z0-9_]*(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIALS?))["']?\s*[=:]\s*["']?)[^\s"',;}]+/gi,
  /(\b[a-z][a-z0-9+.-]*:\/\/[^\s/:@]+:)[^\s/@]+(?=@)/gi,
  /(\bbearer\s+)[\w.~+/-]+=*/gi,
  /([?&]code=)[\w.-]+/g,
];
const HIDDEN = "(hidden)";

/** @param secrets that are known, whatever stands before them. */
export function withoutSecrets(text: string, secrets: readonly string[] = []): string {
  let shown = text;
  for (const secret of secrets) shown = shown.replaceAll(secret, HIDDEN);
  for (const pattern of PATTERNS) shown = shown.replace(pattern, `$1${HIDDEN}`);
  return shown;
}
