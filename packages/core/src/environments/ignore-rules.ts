/** What `.gitignore` files say, as git reads them: later rules win, and what lies in an ignored folder is not looked at. */

export interface IgnoreRule {
  /** Of a path below the folder of the file that has the rule. */
  readonly pattern: RegExp;
  /** That folder, "" for the top, else "a/b/". */
  readonly base: string;
  readonly isNegated: boolean;
  readonly onlyFolders: boolean;
}

/** @param base the folder, relative to the top: "" or "a/b". */
export function parseIgnoreRules(text: string, base: string): IgnoreRule[] {
  return text.split(/\r?\n/).flatMap((line) => parseIgnoreRule(line, base) ?? []);
}

function parseIgnoreRule(line: string, base: string): IgnoreRule | undefined {
  let rule = line.replace(/(?<!\\)\s+$/, "");
  if (rule === "" || rule.startsWith("#")) return undefined;
  const isNegated = rule.startsWith("!");
  if (isNegated) rule = rule.slice(1);
  const onlyFolders = rule.endsWith("/");
  if (onlyFolders) rule = rule.replace(/\/+$/, "");
  const isAnchored = rule.includes("/");
  const pattern = new RegExp(`^${isAnchored ? "" : "(?:.*/)?"}${sourceOf(rule.replace(/^\//, ""))}$`, "s");
  return { pattern, base: base === "" ? "" : `${base}/`, isNegated, onlyFolders };
}

const TOKEN = /\*\*\/|\/\*\*$|\*+|\?|\[[!^]?\]?[^\]]*\]|\\.|[^*?[\\]/gsu;

function sourceOf(glob: string): string {
  return [...glob.matchAll(TOKEN)]
    .map(([token]) => {
      if (token === "**/") return "(?:.*/)?";
      if (token === "/**") return "/.*";
      if (token.startsWith("*")) return "[^/]*";
      if (token === "?") return "[^/]";
      if (token.startsWith("[")) return token.replace(/^\[!/, "[^");
      return (token.startsWith("\\") ? token.slice(1) : token).replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
    })
    .join("");
}

/** @param path relative to the top. */
export function isIgnored(rules: readonly IgnoreRule[], path: string, isFolder: boolean): boolean {
  for (let at = rules.length - 1; at >= 0; at--) {
    const rule = rules[at];
    if (!rule || (rule.onlyFolders && !isFolder) || !path.startsWith(rule.base)) continue;
    if (rule.pattern.test(path.slice(rule.base.length))) return !rule.isNegated;
  }
  return false;
}
