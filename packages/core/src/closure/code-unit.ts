/**
 * The text of one function or class as it travels: addressed by its hash, sent once to each receiver, evaluated there
 * at the line and column where it was written, so that errors show the user's own file.
 *
 * The text is the user's own. What cannot mean the same elsewhere is replaced by something of the same length:
 * `import` in `import()` and `import.meta` by `imp$rt`, a method's key by `m`, the expression after `extends` and
 * computed member names by a name that the receiver binds.
 */
import { createHash } from "node:crypto";
import type { AnyNode } from "acorn";
import { type ClassNode, isClass, isFunction } from "./free-names.ts";
import { isStandardGlobal } from "./intrinsics.ts";
import { outgoing } from "./modules.ts";
import type { ProgramIndex, Site } from "./program.ts";

/** Names that the receiver binds around every unit. */
export const IMPORT_NAME = "imp$rt";
export const DEFER_NAME = "defer$";

/** `plain` an expression; `named` an anonymous one with the name it had; `method` a method, under the key `m`. */
export type UnitForm = "plain" | "named" | "method";

export interface CodeUnit {
  readonly hash: string;
  readonly url: string;
  readonly line: number;
  readonly column: number;
  readonly form: UnitForm;
  readonly name: string;
  readonly source: string;
  /** What travels; `parseUnit` reads it. */
  readonly text: string;
}

/** A computed member name that is bound by the receiver; the index counts the class's members. */
export interface BoundKey {
  readonly name: string;
  readonly memberIndex: number;
}

export interface UnitDraft {
  readonly unit: CodeUnit;
  /** The name under which the receiver binds the base class. */
  readonly baseName: string | undefined;
  readonly keys: readonly BoundKey[];
}

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** The unit for a function or class at `site`, with `name` if the text gives it none. */
export function draftUnit(program: ProgramIndex, site: Site, name: string): UnitDraft {
  const { source } = program.script;
  const url = outgoing(program.script.url);
  const edits: Edit[] = [];
  const ties = program.ties(site.node);
  for (const start of ties.imports) edits.push({ start, end: start + "import".length, text: IMPORT_NAME });
  let form: UnitForm = "plain";
  let baseName: string | undefined;
  const keys: BoundKey[] = [];
  if (site.member && "key" in site.member) {
    form = "method";
    const { key, computed } = site.member as AnyNode & { key: AnyNode; computed: boolean };
    const [start, end] = computed ? bracketed(source, key) : [key.start, key.end];
    edits.push({ start, end, text: blank(source.slice(start, end), "m") });
  } else {
    const { node } = site;
    const isAnonymous = (isFunction(node) || isClass(node)) && !("id" in node && node.id);
    if (isAnonymous && name !== "" && name !== "__proto__") form = "named";
    if (isClass(node)) {
      baseName = editClass(program, node, edits, keys, ties.names);
    }
  }
  edits.sort((a, b) => a.start - b.start);
  const parts: string[] = [];
  let at = site.start;
  for (const edit of edits) {
    // An edit inside another one (an import in a heritage) is gone with it.
    if (edit.start < at) continue;
    parts.push(source.slice(at, edit.start), edit.text);
    at = edit.end;
  }
  parts.push(source.slice(at, site.end));
  const { line, column } = program.position(site.start);
  const text = JSON.stringify([url, line, column, form, form === "named" ? name : "", parts.join("")]);
  return { unit: parseUnit(hashOf(text), text), baseName, keys };
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, HASH_CHARS);
}
const HASH_CHARS = 22;

/** A unit as it stands inside a value: its hash first, so that a receiver need not compute it. */
export const writeUnit = (unit: CodeUnit): string => unit.hash + unit.text;

/** The inverse of {@link writeUnit}; undefined for a hash alone. */
export function readUnit(written: string): CodeUnit | undefined {
  if (written.length <= HASH_CHARS) return undefined;
  return parseUnit(written.slice(0, HASH_CHARS), written.slice(HASH_CHARS));
}

export function parseUnit(hash: string, text: string): CodeUnit {
  // Only `draftUnit` writes these texts, and the hash vouches for them.
  const [url, line, column, form, name, source] = JSON.parse(text) as [
    string,
    number,
    number,
    UnitForm,
    string,
    string,
  ];
  return { hash, url, line, column, form, name, source, text };
}

/** `[key]` with its brackets. */
function bracketed(source: string, key: AnyNode): [number, number] {
  return [source.lastIndexOf("[", key.start - 1), source.indexOf("]", key.end) + 1];
}

/** `word` in place of `old`, filled up so that everything after it stays where it was. */
function blank(old: string, word: string): string {
  const rest = old.replace(/[^\n]/gu, " ");
  return word + rest.slice(word.length);
}

function editClass(
  program: ProgramIndex,
  node: ClassNode,
  edits: Edit[],
  keys: BoundKey[],
  taken: ReadonlySet<string>,
): string | undefined {
  const { source } = program.script;
  let baseName: string | undefined;
  const { superClass } = node;
  if (superClass && !(superClass.type === "Literal" && superClass.value === null)) {
    if (superClass.type === "Identifier") {
      baseName = superClass.name;
    } else {
      let [start, end] = [superClass.start, superClass.end];
      if (source[start - 1] === "(") [start, end] = [start - 1, source.indexOf(")", end) + 1];
      baseName = freshName("$b", taken);
      edits.push({ start, end, text: blank(source.slice(start, end), baseName) });
    }
  }
  for (const [memberIndex, member] of node.body.body.entries()) {
    if (member.type === "StaticBlock") {
      const open = source.indexOf("{", member.start) + 1;
      edits.push({ start: open, end: open, text: `${DEFER_NAME}(()=>{` });
      edits.push({ start: member.end - 1, end: member.end - 1, text: "})" });
      continue;
    }
    if (member.computed && member.type === "MethodDefinition" && !isInert(program, member.key)) {
      const name = member.key.type === "Identifier" ? member.key.name : freshName(`$${memberIndex}`, taken);
      keys.push({ name, memberIndex });
      if (member.key.type !== "Identifier") {
        const { start, end } = member.key;
        edits.push({ start, end, text: blank(source.slice(start, end), name) });
      }
    }
    if (member.type === "PropertyDefinition" && member.static && member.value && !member.computed) {
      editStaticField(program, member, member.value, edits);
    }
  }
  return baseName;
}

/**
 * A static initialiser that reads captured variables runs when they have arrived, which is after the class was made.
 */
function editStaticField(
  program: ProgramIndex,
  member: AnyNode & { key: AnyNode },
  value: AnyNode,
  edits: Edit[],
): void {
  if (isFunction(value) || isClass(value) || isInert(program, value)) return;
  const { source } = program.script;
  const key = source.slice(member.key.start, member.key.end);
  const target = member.key.type === "Literal" ? `this[${key}]` : `this.${key}`;
  edits.push({ start: value.start, end: value.start, text: `${DEFER_NAME}(()=>(` });
  edits.push({ start: value.end, end: value.end, text: `),$=>{${target}=$})` });
}

/** Whether evaluating it needs nothing that is captured. */
function isInert(program: ProgramIndex, node: AnyNode): boolean {
  for (const name of program.ties(node).names) if (!isStandardGlobal(name)) return false;
  return true;
}

function freshName(base: string, taken: ReadonlySet<string>): string {
  let name = base;
  while (taken.has(name)) name = `$${name}`;
  return name;
}

/** The script that gives the unit's function when evaluated with its captured names in scope. */
export function renderUnit(unit: CodeUnit): string {
  const { form, name } = unit;
  const quoted = JSON.stringify(name);
  const [before, after] =
    form === "plain" ? ["(", ")"] : form === "named" ? [`({${quoted}:`, `})[${quoted}]`] : ["({", `})`];
  const padding =
    unit.line > 0
      ? "\n".repeat(unit.line) + " ".repeat(unit.column)
      : " ".repeat(Math.max(0, unit.column - before.length));
  const address = /^[^\s'"]+$/.test(unit.url) ? `\n//# sourceURL=${unit.url}` : "";
  return `${before}${padding}${unit.source}\n${after}${address}`;
}
