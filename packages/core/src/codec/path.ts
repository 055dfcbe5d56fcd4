/**
 * Where in a value the encoder is, in JavaScript notation, for messages. The encoder keeps bare segments, one a level,
 * which costs a store each; the text is made only when something is refused.
 */

/** A property name, an index, or a step of another kind. */
export type Segment = string | number | Step;

/** `text` continues the path, or replaces it when `absolute`. */
export interface Step {
  readonly text: string;
  readonly absolute: boolean;
}

/** The segments above a value that was put off, linked so that a million levels cost a million segments, not more. */
export interface Prefix {
  readonly parent: Prefix | undefined;
  readonly segments: readonly Segment[];
}

const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*$/u;
const PATH_TEXT_MAX = 400;

export function formatPath(root: string, prefix: Prefix | undefined, segments: readonly Segment[]): string {
  const parts: string[] = [];
  let length = 0;
  const add = (segment: Segment): boolean => {
    if (typeof segment === "object" && segment.absolute) {
      parts.push(segment.text);
      return false;
    }
    const text = segmentText(segment);
    parts.push(text);
    length += text.length;
    return length < PATH_TEXT_MAX;
  };
  const walk = (list: readonly Segment[]): boolean => list.toReversed().every(add);
  let goOn = walk(segments);
  for (let at = prefix; goOn && at; at = at.parent) goOn = walk(at.segments);
  if (goOn) parts.push(root);
  else if (length >= PATH_TEXT_MAX) parts.push(`${root}…`);
  return parts.reverse().join("");
}

function segmentText(segment: Segment): string {
  if (typeof segment === "number") return `[${segment}]`;
  if (typeof segment === "object") return segment.text;
  return IDENTIFIER.test(segment) ? `.${segment}` : `[${JSON.stringify(segment)}]`;
}

/** How the value under a Map's key is reached: `.get("key")`. */
export function mapValueStep(key: unknown, index: number): Step {
  const isSimple = typeof key === "number" || typeof key === "boolean" || key === null || key === undefined;
  const argument = typeof key === "string" ? JSON.stringify(key) : isSimple ? String(key) : undefined;
  return { text: argument === undefined ? `.entries()[${index}][1]` : `.get(${argument})`, absolute: false };
}

export const mapKeyStep = (index: number): Step => ({ text: `.keys()[${index}]`, absolute: false });
export const setStep = (index: number): Step => ({ text: `.values()[${index}]`, absolute: false });
export const symbolStep = (symbol: symbol): Step => ({ text: `[${String(symbol)}]`, absolute: false });
export const namedStep = (name: string): Step => ({ text: name, absolute: !/^[.[]/.test(name) });
