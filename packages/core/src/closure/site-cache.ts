/**
 * What is known of a function's position in its script, kept so that a fresh closure made there costs no parsing.
 */
import { readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { fileURLToPath } from "node:url";
import { getCallSites } from "node:util";
import { draftUnit, type UnitDraft } from "./code-unit.ts";
import { isFunction, type TextTies } from "./free-names.ts";
import { type AnyFunction, type Inspected, type Script, scriptOf } from "./inspector.ts";
import { asUrl, loadedCommonJs } from "./modules.ts";
import { ProgramIndex, type Site } from "./program.ts";

export interface KnownSite {
  readonly program: ProgramIndex;
  readonly site: Site;
  /** Address of the file. */
  readonly url: string;
  readonly ties: TextTies;
  /** Under which name the module exports what stands here; undefined if it does not. */
  readonly exportName: string | undefined;
  /** Units by the function's name, which anonymous functions get from where they are assigned. */
  readonly drafts: Map<string, UnitDraft>;
  /** The arrow function's `this` is the top level's. */
  readonly isThisTopLevel: boolean;
}

const programs = new Map<string, ProgramIndex>();
/** Programs read from their files, whose text V8 has not vouched for. */
const guessed = new Set<ProgramIndex>();
const sites = new Map<string, KnownSite>();

/** The place in a script where `fn` was written; undefined for code without a script, such as V8's own. */
export function siteOf(fn: AnyFunction, inspected: Inspected): KnownSite | undefined {
  const { scriptId, line, column } = inspected;
  if (scriptId === undefined) return undefined;
  const key = `${scriptId}:${line}:${column}`;
  const known = sites.get(key);
  if (known) return known;
  const text = Function.prototype.toString.call(fn);
  let program = programs.get(scriptId);
  let site = program?.find(text, line, column);
  if (!program || (!site && guessed.has(program))) {
    const script = scriptOf(scriptId);
    if (!script) return undefined;
    program = new ProgramIndex(script);
    programs.set(scriptId, program);
    site = program.find(text, line, column);
  }
  if (!site) return undefined;
  const found: KnownSite = {
    program,
    site,
    url: asUrl(program.script.url),
    ties: program.ties(site.node),
    exportName: exportNameOf(program, site),
    drafts: new Map(),
    isThisTopLevel: program.script.isModule && !site.ancestors.some(bindsThis),
  };
  sites.set(key, found);
  return found;
}

/**
 * Whether the script that a function came from has been read. Reads those on the call stack first: that costs a
 * fraction of asking V8, which must hash every script of the process, and most functions are submitted from the file
 * in which they, or an import of them, were written.
 */
export function isScriptKnown({ scriptId }: Inspected): boolean {
  if (scriptId === undefined || programs.has(scriptId)) return true;
  const frames = getCallSites(STACK_FRAMES_READ).filter(({ scriptName }) => /^(?:file:|\/)/.test(scriptName));
  for (const frame of [frames.find((one) => one.scriptId === scriptId), frames.at(-1)]) {
    if (!frame || programs.has(frame.scriptId)) continue;
    const script = scriptFromFile(frame.scriptId, frame.scriptName);
    if (!script) continue;
    try {
      const program = new ProgramIndex(script);
      programs.set(script.id, program);
      guessed.add(program);
    } catch {
      // What runs is not what the file holds (a loader transforms it): V8 knows the text.
    }
  }
  return programs.has(scriptId);
}

/** As deep as `getCallSites` goes. */
const STACK_FRAMES_READ = 200;

function scriptFromFile(id: string, name: string): Script | undefined {
  const url = asUrl(name);
  const path = /\.([cm]?)(ts|js)$/.exec(url);
  if (!path) return undefined;
  let source: string;
  try {
    source = readFileSync(fileURLToPath(url), "utf8");
    if (path[2] === "ts") source = stripTypes(source);
  } catch {
    // Gone, or with types that cannot simply be stripped.
    return undefined;
  }
  const isModule = path[1] === "m" || (path[1] === "" && !loadedCommonJs(url));
  return { id, url: name, source, isModule };
}

/** Node.js warns that stripping is experimental; that is said of our use of it, and nothing that the program does. */
function stripTypes(source: string): string {
  const { emitWarning } = process;
  process.emitWarning = () => undefined;
  try {
    return stripTypeScriptTypes(source);
  } finally {
    process.emitWarning = emitWarning;
  }
}

/** Programs that have been read so far. */
export function* knownPrograms(): Iterable<{ program: ProgramIndex; url: string }> {
  for (const program of programs.values()) yield { program, url: asUrl(program.script.url) };
}

function bindsThis(node: Site["node"]): boolean {
  return (
    node.type === "FunctionDeclaration" ||
    node.type === "FunctionExpression" ||
    node.type === "PropertyDefinition" ||
    node.type === "StaticBlock"
  );
}

/** The unit for a function at a known site. */
export function draftFor(known: KnownSite, name: string): UnitDraft {
  let draft = known.drafts.get(name);
  if (!draft) {
    draft = draftUnit(known.program, known.site, name);
    known.drafts.set(name, draft);
  }
  return draft;
}

/** The export's name, if the function or class at `site` is what a top-level exported declaration gives its name to. */
function exportNameOf(program: ProgramIndex, site: Site): string | undefined {
  const { ancestors, node } = site;
  const functionsAround = ancestors.filter(isFunction).length;
  const isTop = functionsAround === 0 ? program.script.isModule : functionsAround === 1 && program.isVite;
  if (!isTop) return undefined;
  const direct = ancestors.at(-1);
  if (direct?.type === "ExportDefaultDeclaration") return "default";
  let name: string | undefined;
  if (node.type === "FunctionDeclaration" || node.type === "ClassDeclaration") {
    name = node.id?.name;
  } else {
    // `const f = …`, also through `__name(…, "f")` of esbuild and tsx.
    const around = [...ancestors].reverse();
    const first = around[0];
    const isNamed =
      first?.type === "CallExpression" && first.callee.type === "Identifier" && first.callee.name === "__name";
    const declarator = isNamed ? around[1] : first;
    if (declarator?.type === "VariableDeclarator" && declarator.id.type === "Identifier") name = declarator.id.name;
  }
  if (name === undefined || program.assigned.has(name) || !program.topLevel.has(name)) return undefined;
  const block = ancestors.findLast((ancestor) => ancestor.type === "BlockStatement");
  if (block && !program.isVite) return undefined;
  return program.exported.get(name);
}
