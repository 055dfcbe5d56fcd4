/**
 * What a module's text says that it imports, in JavaScript and TypeScript alike. A text is not parsed but split into tokens:
 * 200 modules would take a parser a third of a second. What is computed at run time is not seen.
 */

export interface Imports {
  /** Specifiers of `import` and `export ... from` statements. */
  readonly linked: readonly string[];
  /** Of `import()`, `require()`, `require.resolve()` and `import.meta.resolve()`. */
  readonly called: readonly string[];
  /** Files beside the module: `new URL("./x", import.meta.url)`, `join(__dirname, "x")` and the like. */
  readonly beside: readonly string[];
}

interface Token {
  readonly kind: "word" | "text" | "sign";
  readonly text: string;
}

/** After these a slash begins a regular expression. */
const BEFORE_EXPRESSION = new Set(
  "return typeof case in of delete void throw new else do await yield instanceof".split(" "),
);
const WORD = /[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/uy;
const NUMBER = /\d[\w.]*/y;
const SPACE = /\s+/y;
const REGULAR_EXPRESSION = /\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/[a-z]*/y;

function match(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0];
}

/** Strings without escapes and templates without substitutions are `text`. A string ends with its line, closed or not. */
function tokensOf(source: string): Token[] {
  const tokens: Token[] = [];
  /** Open braces inside each substitution of a template that is open. */
  const templates: number[] = [];
  let at = source.startsWith("#!") ? lineEnd(source, 0) : 0;
  const template = (): void => {
    const start = at;
    let isPlain = true;
    for (; at < source.length; at++) {
      const char = source.charAt(at);
      if (char === "\\") {
        isPlain = false;
        at++;
      } else if (char === "`") {
        if (isPlain) tokens.push({ kind: "text", text: source.slice(start, at) });
        at++;
        return;
      } else if (char === "$" && source.charAt(at + 1) === "{") {
        templates.push(0);
        tokens.push({ kind: "sign", text: "${" });
        at += 2;
        return;
      }
    }
  };
  while (at < source.length) {
    const char = source.charAt(at);
    const space = match(SPACE, source, at);
    if (space !== undefined) {
      at += space.length;
    } else if (source.startsWith("//", at)) {
      at = lineEnd(source, at);
    } else if (source.startsWith("/*", at)) {
      const end = source.indexOf("*/", at + 2);
      at = end < 0 ? source.length : end + 2;
    } else if (char === '"' || char === "'") {
      let end = at + 1;
      while (end < source.length && source.charAt(end) !== char && source.charAt(end) !== "\n") {
        end += source.charAt(end) === "\\" ? 2 : 1;
      }
      const text = source.slice(at + 1, end);
      if (!text.includes("\\")) tokens.push({ kind: "text", text });
      else tokens.push({ kind: "sign", text: "'" });
      at = source.charAt(end) === char ? end + 1 : end;
    } else if (char === "`") {
      at++;
      template();
    } else if (char === "}" && templates.at(-1) === 0) {
      templates.pop();
      at++;
      template();
    } else {
      const word = match(WORD, source, at) ?? match(NUMBER, source, at);
      if (word !== undefined) {
        tokens.push({ kind: "word", text: word });
        at += word.length;
        continue;
      }
      const pattern =
        char === "/" && mayBeginExpression(tokens.at(-1)) ? match(REGULAR_EXPRESSION, source, at) : undefined;
      if (pattern !== undefined) tokens.push({ kind: "sign", text: "/" });
      else tokens.push({ kind: "sign", text: char });
      if (templates.length > 0 && (char === "{" || char === "}")) {
        templates[templates.length - 1] = (templates.at(-1) ?? 0) + (char === "{" ? 1 : -1);
      }
      at += pattern?.length ?? 1;
    }
  }
  return tokens;
}

function lineEnd(source: string, from: number): number {
  const end = source.indexOf("\n", from);
  return end < 0 ? source.length : end;
}

function mayBeginExpression(last: Token | undefined): boolean {
  if (!last) return true;
  if (last.kind === "word") return BEFORE_EXPRESSION.has(last.text);
  return last.kind === "sign" && last.text !== ")" && last.text !== "]";
}

export function importsOf(source: string): Imports {
  const tokens = tokensOf(source);
  const linked = new Set<string>();
  const called = new Set<string>();
  const beside = new Set<string>();
  const is = (at: number, ...texts: string[]): boolean =>
    texts.every((text, index) => tokens[at + index]?.kind !== "text" && tokens[at + index]?.text === text);
  const textAt = (at: number): string | undefined => (tokens[at]?.kind === "text" ? tokens[at].text : undefined);
  const add = (to: Set<string>, text: string | undefined): void => {
    if (text !== undefined && text !== "") to.add(text);
  };
  /** `, "a", "b")`: what is joined to a folder. */
  const joined = (at: number): string | undefined => {
    const parts: string[] = [];
    for (let next = at; ; next += 2) {
      const part = is(next, ",") ? textAt(next + 1) : undefined;
      if (part === undefined) return is(next, ")") && parts.length > 0 ? parts.join("/") : undefined;
      parts.push(part);
    }
  };
  for (const [at, { kind, text }] of tokens.entries()) {
    if (kind !== "word" || is(at - 1, ".")) continue;
    switch (text) {
      case "import":
        if (is(at + 1, "(")) add(called, textAt(at + 2));
        else if (is(at + 1, ".", "meta", ".", "resolve", "(")) add(called, textAt(at + 6));
        else if (textAt(at + 1) !== undefined) add(linked, textAt(at + 1));
        else add(linked, fromClause(tokens, at + 1));
        break;
      case "export":
        if (is(at + 1, "{") || is(at + 1, "*")) add(linked, fromClause(tokens, at + 1));
        break;
      case "require":
        if (is(at + 1, "(")) add(called, textAt(at + 2));
        else if (is(at + 1, ".", "resolve", "(")) add(called, textAt(at + 4));
        break;
      case "URL":
        if (is(at + 1, "(") && is(at + 3, ",", "import", ".", "meta", ".", "url")) add(beside, textAt(at + 2));
        break;
      case "__dirname":
        if (is(at - 1, "(")) add(beside, joined(at + 1));
        break;
      default:
    }
    if (text === "import" && is(at - 1, "(") && is(at + 1, ".", "meta", ".", "dirname")) add(beside, joined(at + 5));
  }
  return { linked: [...linked], called: [...called], beside: [...beside] };
}

/** The specifier at the end of `import a, { b as c } from "x"`; undefined for what only has types, and for what is none. */
function fromClause(tokens: readonly Token[], start: number): string | undefined {
  const isTypes =
    tokens[start]?.text === "type" && tokens[start + 1]?.text !== "from" && tokens[start + 1]?.text !== ",";
  if (isTypes) return undefined;
  let depth = 0;
  for (let at = start; at < tokens.length; at++) {
    const { kind, text } = tokens[at] as Token;
    if (text === "{") depth++;
    else if (text === "}") depth--;
    else if (depth === 0 && text === "from" && tokens[at + 1]?.kind === "text") return tokens[at + 1]?.text;
    else if (kind === "sign" && text !== "," && text !== "*") return undefined;
  }
  return undefined;
}
