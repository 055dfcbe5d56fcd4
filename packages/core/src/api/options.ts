/**
 * Options, checked at the call and completed with their defaults. Pure: the same options give the same settings.
 * Overrides are merged as a program wrote them ({@link mergeOptions}) and checked again, so a default that depends on
 * another option (`maxCalls` on `numGpus`) follows the override too.
 */
import { InvalidOptionError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import {
  INFEASIBLE_TIMEOUT_MS,
  MAX_PENDING_TASKS,
  PREEMPT_AFTER_MS,
  PUT_TIMEOUT_MS,
  SHARED_ACTORS_PER_WORKER_MAX,
  STREAM_BUFFER_ITEMS,
  TASK_MAX_RETRIES,
} from "../base/limits.ts";
import { type Resources, type ResourceUnits, toUnits } from "../base/resources.ts";
import { refusedNodeOption } from "../environments/mod.ts";
import type { BundleChoice, Placement } from "../wire/messages.ts";
import {
  aBoolean,
  amount,
  aText,
  bytes,
  type Check,
  type CheckTable,
  customResources,
  fieldsOf,
  gpus,
  isRecord,
  listOf,
  milliseconds,
  nearest,
  type OptionPlace,
  oneOf,
  readOptions,
  recordOf,
  refuse,
  refuseWithoutCluster,
  wholeNumber,
} from "./option-checks.ts";
import { inGroup } from "./placement.ts";
import type { RuntimeEnvSettings } from "./runtime-env-settings.ts";
import { labelSelector } from "./selector-check.ts";
import type { TracingSettings } from "./tracing.ts";
import type { InitOptions, RetryExceptions } from "./types.ts";

/** `Infinity` too. */
const millisecondsOrNever: Check<number> = (value, at) =>
  value === Number.POSITIVE_INFINITY ? Number.POSITIVE_INFINITY : milliseconds(0)(value, at);

const SETUP_TIMEOUT_MS = 60_000;
const FOR_EVER = { value: -1, means: "for ever" };
const OBJECT_STORE_BYTES_MIN = 1024 * 1024;

// ── values with rules of their own ───────────────────────────────────────────────────────────────────────────────────

const retryExceptions: Check<RetryExceptions> = (value, at) => {
  const isErrorClass = (each: unknown): boolean =>
    typeof each === "function" &&
    (each === Error || Object.prototype.isPrototypeOf.call(Error.prototype, each.prototype ?? {}));
  if (typeof value === "boolean") return value;
  if (isErrorClass(value)) return refuse(at, value, "a list of error classes: put the class into [ ]");
  // Everything in the list was just seen to be an error class; a function was seen not to be one.
  if (Array.isArray(value) && value.every(isErrorClass)) return value as RetryExceptions;
  if (typeof value === "function") return value as RetryExceptions;
  return refuse(at, value, "true, false, a list of error classes, or a function from an error to true or false");
};

const onNode = fieldsOf({ nodeId: aText, soft: aBoolean } as const);

type Strategy = "default" | NonNullable<Placement["strategy"]> | BundleChoice;

const schedulingStrategy: Check<Strategy> = (value, at) => {
  if (value === "default" || value === "spread") return value;
  if (isRecord(value) && "nodeId" in value) {
    const { nodeId, soft = false } = onNode(value, at);
    return { nodeId: nodeId as NodeId, soft };
  }
  if (isRecord(value) && "placementGroup" in value) {
    return inGroup(value, at);
  }
  return refuse(at, value, '"default" or "spread"');
};

const labels: Check<undefined> = (value, at) => {
  if (!isRecord(value)) return refuse(at, value, "an object from label to value");
  return Object.keys(value).length > 0 ? refuseWithoutCluster(at, value, "leave it out") : undefined;
};

const environment: Check<Readonly<Record<string, string>>> = (value, at) => {
  const read = recordOf<string>(
    (each, where) => (typeof each === "string" && !each.includes("\0") ? each : refuse(where, each, "a string")),
    "an object from variable to string",
  )(value, at);
  for (const name of Object.keys(read)) {
    if (/[=\0]/.test(name)) refuse({ ...at, option: `${at.option}.${name}` }, read[name], 'a name without "="');
  }
  return read;
};

function acceptedNodeOption(option: string, at: OptionPlace): string {
  const why = refusedNodeOption(option);
  return why === undefined ? option : refuse(at, option, `left out: ${why}`);
}

const nodeOption: Check<string> = (value, at) =>
  typeof value === "string" && value.startsWith("-")
    ? acceptedNodeOption(value, at)
    : refuse(at, value, 'an option of node, such as "--max-old-space-size=8192"');

const workingDirFields = fieldsOf({
  path: aText,
  excludes: listOf(aText, 'a list of rules as in .gitignore, such as ["data/"]'),
  bytesMax: wholeNumber(1),
});

const workingDir: Check<NonNullable<RuntimeEnvSettings["workingDir"]>> = (value, at) => {
  if (!isRecord(value)) return { path: aText(value, at) };
  const { path, ...more } = workingDirFields(value, at);
  return path === undefined ? refuse(at, value, "a folder, or an object with its path") : { path, ...more };
};

const npmFields = fieldsOf({
  path: aText,
  dependencies: recordOf(aText, 'an object from package to exact version, such as { "left-pad": "1.3.0" }'),
  allowScripts: aBoolean,
  dev: aBoolean,
});

const npm: Check<NonNullable<RuntimeEnvSettings["npm"]>> = (value, at) => {
  if (typeof value === "boolean") return value && {};
  if (typeof value === "string") return { path: aText(value, at) };
  if (!isRecord(value)) return refuse(at, value, "true, a folder with package.json, or an object with options");
  const read = npmFields(value, at);
  if (read.path !== undefined && read.dependencies) {
    refuse(
      { ...at, option: `${at.option}.dependencies` },
      read.dependencies,
      'left out beside "path", which has a package.json',
    );
  }
  return read;
};

const setupFields = fieldsOf({ module: aText, timeoutMs: milliseconds(1) });

const setup: Check<NonNullable<RuntimeEnvSettings["setup"]>> = (value, at) => {
  if (!isRecord(value)) {
    if (typeof value !== "string")
      return refuse(at, value, 'the path of a module in the working folder, such as "./setup.mjs"');
    return { module: aText(value, at), timeoutMs: SETUP_TIMEOUT_MS };
  }
  const { module, timeoutMs = SETUP_TIMEOUT_MS } = setupFields(value, at);
  return module === undefined ? refuse(at, value, "a path, or an object with the module") : { module, timeoutMs };
};

const runtimeEnv: Check<RuntimeEnvSettings> = fieldsOf({
  env: environment,
  workingDir,
  nodeOptions: listOf(nodeOption, 'a list of options of node, such as ["--max-old-space-size=8192"]'),
  npm,
  setup,
  timeoutMs: milliseconds(1),
});

/** @throws InvalidOptionError naming the first thing that is wrong. */
export const checkRuntimeEnv = (call: string, given: unknown): RuntimeEnvSettings =>
  runtimeEnv(given, { call, option: "runtimeEnv" });

/**
 * For `address: "inline"`, where tasks and actors run in the program's own process.
 *
 * @throws InvalidOptionError naming the first thing that `given` would change of it.
 */
export function refuseInline(
  call: string,
  given: RuntimeEnvSettings | undefined,
  inspect: boolean | "brk" = false,
): void {
  if (inspect !== false) {
    const allowed =
      'left out with address "inline": everything runs in this process. Start the program itself with node --inspect, or use address "local"';
    refuse({ call, option: "inspect" }, inspect, allowed);
  }
  for (const [field, value] of Object.entries(given ?? {})) {
    if (typeof value === "object" && Object.keys(value).length === 0) continue;
    refuse(
      { call, option: `runtimeEnv.${field}` },
      field === "workingDir" ? given?.workingDir?.path : value,
      'left out with address "inline": everything runs in this process, which has one environment, one working folder and the options that node was started with. Start the program itself with them, or use address "local"',
    );
  }
}

const numReturns = wholeNumber(1);

/** @throws InvalidOptionError when a generator, whose refs come in a stream, is to have a number of them. */
export function refuseStreamReturns(call: string, given: number): void {
  if (given > 1) {
    refuse(
      { call, option: "numReturns" },
      given,
      "left out for a generator, which gives a stream of refs: iterate it, or return an array from an ordinary function",
    );
  }
}

// ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const inspect: Check<boolean | "brk"> = (value, at) =>
  value === "brk" || typeof value === "boolean" ? value : refuse(at, value, 'true, false or "brk"');

const placementTable = {
  numCpus: amount,
  numGpus: gpus,
  memory: bytes,
  resources: customResources,
  schedulingStrategy,
  labelSelector,
  runtimeEnv,
  inspect,
} as const satisfies CheckTable;

const taskTable = {
  ...placementTable,
  name: aText,
  numReturns,
  maxRetries: wholeNumber(0, undefined, FOR_EVER),
  retryExceptions,
  retryDelayMs: milliseconds(0),
  timeoutMs: milliseconds(1),
  maxCalls: wholeNumber(0),
  streamBufferItems: wholeNumber(1),
  priority: wholeNumber(-1000, 1000),
} as const satisfies CheckTable;

export interface TaskSettings {
  /** Undefined: the function's own name. */
  readonly name: string | undefined;
  /** cpu, gpu, memory and custom resources together. */
  readonly resources: ResourceUnits;
  readonly numReturns: number;
  /** -1 for ever. */
  readonly maxRetries: number;
  readonly retryExceptions: RetryExceptions;
  readonly retryDelayMs: number;
  /** Undefined: no limit. */
  readonly timeoutMs: number | undefined;
  /** 0: no limit. */
  readonly maxCalls: number;
  readonly placement: Placement | undefined;
  /** It says nothing of where it runs: a placement group may capture it. */
  readonly isAnywhere: boolean;
  readonly runtimeEnv: RuntimeEnvSettings | undefined;
  readonly inspect: boolean | "brk";
  readonly streamBufferItems: number;
  readonly priority: number;
}

/** Overrides on top of earlier options; an override of `undefined` changes nothing. */
export function mergeOptions<Options extends object>(
  base: Options | undefined,
  overrides: Options | undefined,
): Options {
  const given = Object.entries(overrides ?? {}).filter(([, value]) => value !== undefined);
  // Names and values are those of the two arguments.
  return { ...base, ...Object.fromEntries(given) } as Options;
}

export function normalizeTaskOptions(options: unknown, base?: object): TaskSettings {
  const read = readOptions("remote()", taskTable, merged("remote()", options, base));
  return {
    name: read.name,
    resources: demand(read, 1),
    numReturns: read.numReturns ?? 1,
    maxRetries: read.maxRetries ?? TASK_MAX_RETRIES,
    retryExceptions: read.retryExceptions ?? false,
    retryDelayMs: read.retryDelayMs ?? 0,
    timeoutMs: read.timeoutMs,
    // Only the end of its process gives a GPU's memory back for certain.
    maxCalls: read.maxCalls ?? ((read.numGpus ?? 0) > 0 ? 1 : 0),
    placement: placementOf(read),
    isAnywhere: isAnywhere(read),
    runtimeEnv: read.runtimeEnv,
    inspect: read.inspect ?? false,
    streamBufferItems: read.streamBufferItems ?? STREAM_BUFFER_ITEMS,
    priority: read.priority ?? 0,
  };
}

function merged(call: string, options: unknown, base: object | undefined): unknown {
  if (options !== undefined && !isRecord(options)) return readOptions(call, {}, options);
  return mergeOptions(base, options);
}

interface Demanded {
  readonly numCpus?: number;
  readonly numGpus?: number;
  readonly memory?: number;
  readonly resources?: Resources;
}

const isAnywhere = ({ schedulingStrategy, labelSelector }: WherePlaced): boolean =>
  schedulingStrategy === undefined && labelSelector === undefined;

/** Undefined when anywhere will do. */
function placementOf({ schedulingStrategy, labelSelector }: WherePlaced): Placement | undefined {
  const chosen = schedulingStrategy === "default" ? undefined : schedulingStrategy;
  const selectors = labelSelector?.some((selector) => Object.keys(selector).length > 0) ? labelSelector : undefined;
  if (!chosen && !selectors) return undefined;
  if (typeof chosen === "object" && "groupId" in chosen) return { bundle: chosen, ...(selectors && { selectors }) };
  const strategy = chosen;
  return { ...(strategy && { strategy }), ...(selectors && { selectors }) };
}

interface WherePlaced {
  readonly schedulingStrategy?: Strategy;
  readonly labelSelector?: NonNullable<Placement["selectors"]>;
}

function demand(read: Demanded, defaultCpus: number): ResourceUnits {
  return toUnits({
    ...read.resources,
    cpu: read.numCpus ?? defaultCpus,
    gpu: read.numGpus ?? 0,
    memory: read.memory ?? 0,
  });
}

// ── methods and actors ───────────────────────────────────────────────────────────────────────────────────────────────

const methodTable = {
  name: aText,
  numReturns,
  maxTaskRetries: wholeNumber(0, undefined, FOR_EVER),
  retryExceptions,
  retryDelayMs: milliseconds(0),
  timeoutMs: milliseconds(1),
  concurrencyGroup: aText,
  streamBufferItems: wholeNumber(1),
} as const satisfies CheckTable;

export interface MethodSettings {
  readonly name: string | undefined;
  readonly numReturns: number;
  /** -1 for ever. */
  readonly maxTaskRetries: number;
  readonly retryExceptions: RetryExceptions;
  readonly retryDelayMs: number;
  readonly timeoutMs: number | undefined;
  /** Undefined: the actor's own concurrency. */
  readonly concurrencyGroup: string | undefined;
  readonly streamBufferItems: number;
}

export const METHOD_DEFAULTS: MethodSettings = Object.freeze({
  name: undefined,
  numReturns: 1,
  maxTaskRetries: 0,
  retryExceptions: false,
  retryDelayMs: 0,
  timeoutMs: undefined,
  concurrencyGroup: undefined,
  streamBufferItems: STREAM_BUFFER_ITEMS,
});

/**
 * @param base what holds when the call says nothing: the actor's settings of this method.
 * @param groups the actor's concurrency groups, where they are known.
 */
export function normalizeMethodOptions(
  options: unknown,
  base: MethodSettings = METHOD_DEFAULTS,
  groups?: readonly string[],
): MethodSettings {
  const read = readOptions("method options()", methodTable, options);
  if (read.concurrencyGroup !== undefined && groups !== undefined) {
    knownGroup("method options()", "concurrencyGroup", read.concurrencyGroup, groups);
  }
  return { ...base, ...read };
}

function knownGroup(call: string, option: string, group: string, groups: readonly string[]): void {
  if (groups.includes(group)) return;
  const near = nearest(group, groups);
  const allowed =
    groups.length === 0
      ? "left out: the actor has no concurrencyGroups"
      : `one of the actor's concurrencyGroups: ${groups.join(", ")}${near === undefined ? "" : ` (did you mean "${near}"?)`}`;
  refuse({ call, option }, group, allowed);
}

const methodInClassTable = {
  name: methodTable.name,
  maxTaskRetries: methodTable.maxTaskRetries,
  retryExceptions: methodTable.retryExceptions,
  retryDelayMs: methodTable.retryDelayMs,
  timeoutMs: methodTable.timeoutMs,
  concurrencyGroup: methodTable.concurrencyGroup,
  streamBufferItems: methodTable.streamBufferItems,
} as const satisfies CheckTable;

const actorTable = {
  ...placementTable,
  name: aText,
  namespace: aText,
  getIfExists: aBoolean,
  lifetime: oneOf("owner", "detached"),
  maxRestarts: wholeNumber(0, undefined, FOR_EVER),
  maxTaskRetries: methodTable.maxTaskRetries,
  maxConcurrency: wholeNumber(1),
  concurrencyGroups: recordOf(wholeNumber(1), "an object from group to concurrency, such as { io: 4 }"),
  methods: recordOf(fieldsOf(methodInClassTable), "an object from method to its options"),
  maxPendingCalls: wholeNumber(1, undefined, { value: -1, means: "for no limit" }),
  isolation: oneOf("process", "shared"),
  maxActorsPerWorker: wholeNumber(1),
  priority: taskTable.priority,
} as const satisfies CheckTable;

export interface ActorSettings {
  readonly name: string | undefined;
  readonly namespace: string | undefined;
  readonly getIfExists: boolean;
  readonly lifetime: "owner" | "detached";
  readonly resources: ResourceUnits;
  /** -1 for ever. */
  readonly maxRestarts: number;
  readonly maxConcurrency: number;
  readonly concurrencyGroups: Readonly<Record<string, number>>;
  /** What a call of a method without an entry in `methods` starts from. */
  readonly methodDefaults: MethodSettings;
  readonly methods: Readonly<Record<string, MethodSettings>>;
  /** -1: no limit. */
  readonly maxPendingCalls: number;
  readonly isolation: "process" | "shared";
  readonly maxActorsPerWorker: number;
  readonly priority: number;
  readonly placement: Placement | undefined;
  readonly isAnywhere: boolean;
  readonly runtimeEnv: RuntimeEnvSettings | undefined;
  readonly inspect: boolean | "brk";
}

export function normalizeActorOptions(options: unknown, base?: object): ActorSettings {
  const call = "remote(class)";
  const read = readOptions(call, actorTable, merged(call, options, base));
  if (read.getIfExists === true && read.name === undefined) {
    refuse({ call, option: "getIfExists" }, true, 'used with the option "name"');
  }
  if (read.isolation === "shared" && (read.numGpus ?? 0) > 0) {
    refuse(
      { call, option: "numGpus" },
      read.numGpus,
      'left out with isolation "shared": actors in one process see the same devices. Use isolation "process"',
    );
  }
  const concurrencyGroups = read.concurrencyGroups ?? {};
  const methodDefaults: MethodSettings = { ...METHOD_DEFAULTS, maxTaskRetries: read.maxTaskRetries ?? 0 };
  const methods = Object.entries(read.methods ?? {}).map(([method, given]) => {
    if (given.concurrencyGroup !== undefined) {
      knownGroup(call, `methods.${method}.concurrencyGroup`, given.concurrencyGroup, Object.keys(concurrencyGroups));
    }
    return [method, { ...methodDefaults, ...given }] as const;
  });
  return {
    name: read.name,
    namespace: read.namespace,
    getIfExists: read.getIfExists ?? false,
    lifetime: read.lifetime ?? "owner",
    resources: demand(read, 0),
    maxRestarts: read.maxRestarts ?? 0,
    maxConcurrency: read.maxConcurrency ?? 1,
    concurrencyGroups,
    methodDefaults,
    methods: Object.fromEntries(methods),
    maxPendingCalls: read.maxPendingCalls ?? -1,
    isolation: read.isolation ?? "process",
    maxActorsPerWorker: read.maxActorsPerWorker ?? SHARED_ACTORS_PER_WORKER_MAX,
    priority: read.priority ?? 0,
    placement: placementOf(read),
    isAnywhere: isAnywhere(read),
    runtimeEnv: read.runtimeEnv,
    inspect: read.inspect ?? false,
  };
}

const HOSTING_OPTIONS = ["maxConcurrency", "concurrencyGroups", "maxPendingCalls", "methods", "maxTaskRetries"];

/** Whether actors made with these options are called or hosted in another way than those made without. */
export const changesHosting = (overrides: object): boolean =>
  HOSTING_OPTIONS.some((option) => (overrides as Readonly<Record<string, unknown>>)[option] !== undefined);

// ── init ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

const nodeResources: Check<Resources> = (value, at) => {
  const read = recordOf(amount, "an object of amounts, such as { cpu: 4, disk: 1 }")(value, at);
  for (const [name, given] of Object.entries(read)) {
    const place = { call: at.call, option: `${at.option}.${name}` };
    const plain = name.toLowerCase();
    if (name !== plain && ["cpu", "gpu", "memory"].includes(plain)) refuse(place, given, `written "${plain}"`);
    if ((name === "gpu" || name === "memory") && !Number.isInteger(given)) {
      refuse(place, given, name === "gpu" ? "whole: a node has whole devices" : "whole: it is in bytes");
    }
  }
  return read;
};

const threshold: Check<number> = (value, at) =>
  typeof value === "number" && value > 0 && value <= 1
    ? value
    : refuse(at, value, "a share of memory above 0 and at most 1");

const address: Check<DriverAddress> = (value, at) => {
  if (value === "local" || value === "auto" || value === "inline") return value;
  if (typeof value === "string" && isHostAndPort(value)) return value;
  return refuse(at, value, '"local", "auto", "inline" or "host:port"');
};

const tracingFields = fieldsOf({ setup: aText });

const tracing: Check<false | TracingSettings> = (value, at) => {
  if (typeof value === "boolean") return value && {};
  return isRecord(value) ? tracingFields(value, at) : refuse(at, value, "true, false, or an object with a setup");
};

/** `1`, or the path of a setup. */
const tracingFrom = (text: string | undefined): false | TracingSettings => {
  if (!text || text === "0" || text === "false") return false;
  return text === "1" || text === "true" ? {} : { setup: text };
};

const initTable = {
  address,
  resources: nodeResources,
  objectStoreBytes: wholeNumber(OBJECT_STORE_BYTES_MIN),
  spillDirectory: aText,
  spillBytesMax: bytes,
  namespace: aText,
  jobName: aText,
  quota: nodeResources,
  metadata: recordOf<string>(
    (value, at) => (typeof value === "string" ? value : refuse(at, value, "a string")),
    "an object of strings",
  ),
  logToDriver: aBoolean,
  runtimeEnv,
  labels,
  infeasibleTimeoutMs: milliseconds(0),
  preemptAfterMs: millisecondsOrNever,
  putTimeoutMs: milliseconds(0),
  memoryMonitor: fieldsOf({ threshold, intervalMs: milliseconds(1), limitBytes: wholeNumber(1) }),
  maxPendingTasks: wholeNumber(1),
  ignoreReinit: aBoolean,
  token: aText,
  tls: fieldsOf({ cert: aText, key: aText, ca: aText, serverName: aText }),
  tracing,
} as const satisfies CheckTable;

export type DriverAddress = "local" | "auto" | "inline" | `${string}:${number}`;

const isHostAndPort = (address: string): address is `${string}:${number}` => /:\d+$/.test(address);

export interface InitSettings {
  readonly address: DriverAddress;
  /** What the program declares; the rest is what the machine has. */
  readonly resources: Resources;
  /** Undefined: a share of the machine's memory. */
  readonly objectStoreBytes: number | undefined;
  readonly spillDirectory: string | undefined;
  readonly spillBytesMax: number | undefined;
  /** Undefined: anonymous, the job's own. */
  readonly namespace: string | undefined;
  readonly jobName: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly quota: Resources | undefined;
  readonly logToDriver: boolean;
  readonly runtimeEnv: RuntimeEnvSettings | undefined;
  readonly infeasibleTimeoutMs: number;
  /** Infinity: never. */
  readonly preemptAfterMs: number;
  readonly putTimeoutMs: number;
  readonly memoryMonitor: { readonly threshold: number; readonly intervalMs: number; readonly limitBytes?: number };
  readonly maxPendingTasks: number;
  readonly ignoreReinit: boolean;
  readonly token: string | undefined;
  readonly tls: InitOptions["tls"];
  readonly tracing: false | TracingSettings;
}

const NODE_OPTIONS = [
  "resources",
  "objectStoreBytes",
  "spillDirectory",
  "spillBytesMax",
  "infeasibleTimeoutMs",
  "putTimeoutMs",
  "memoryMonitor",
] as const;

/** A node that only brings a driver into a cluster runs nothing. */
function refuseResources({ resources }: Readonly<Record<string, unknown>>): void {
  if (resources === undefined) return;
  refuse(
    { call: "init()", option: "resources" },
    resources,
    "left out for a program that joins a cluster: it offers nothing itself. Give resources to `mobula start`",
  );
}

/** What a node was started with holds for every program that joins it. */
function refuseNodeOptions(given: Readonly<Record<string, unknown>>): void {
  for (const option of NODE_OPTIONS) {
    if (given[option] === undefined) continue;
    refuse(
      { call: "init()", option },
      given[option],
      'left out with address "auto": it belongs to the standing node. Give it to "mobula start", or use address "local"',
    );
  }
}

/** @param environment where `MOBULA_ADDRESS`, `MOBULA_TOKEN` and `MOBULA_TRACING` give what the program leaves open. */
export function normalizeInitOptions(
  options: unknown,
  environment: Readonly<Record<string, string | undefined>> = {},
): InitSettings {
  const read = readOptions("init()", initTable, options);
  const fromEnvironment = environment.MOBULA_ADDRESS || undefined;
  const chosen =
    read.address ??
    (fromEnvironment === undefined
      ? "local"
      : address(fromEnvironment, { call: "init()", option: "address (from MOBULA_ADDRESS)" }));
  if (chosen === "inline") refuseInline("init()", read.runtimeEnv);
  if (chosen === "inline" && read.quota) {
    refuse({ call: "init()", option: "quota" }, read.quota, 'left out with address "inline": it is for clusters');
  }
  if (chosen === "auto") refuseNodeOptions(read);
  if (isHostAndPort(chosen)) refuseResources(read);
  return {
    address: chosen,
    resources: read.resources ?? {},
    objectStoreBytes: read.objectStoreBytes,
    spillDirectory: read.spillDirectory,
    spillBytesMax: read.spillBytesMax,
    namespace: read.namespace,
    jobName: read.jobName,
    metadata: read.metadata ?? {},
    quota: read.quota,
    logToDriver: read.logToDriver ?? true,
    runtimeEnv: read.runtimeEnv,
    infeasibleTimeoutMs: read.infeasibleTimeoutMs ?? INFEASIBLE_TIMEOUT_MS,
    preemptAfterMs: read.preemptAfterMs ?? PREEMPT_AFTER_MS,
    putTimeoutMs: read.putTimeoutMs ?? PUT_TIMEOUT_MS,
    memoryMonitor: {
      threshold: read.memoryMonitor?.threshold ?? 0.95,
      intervalMs: read.memoryMonitor?.intervalMs ?? 250,
      ...(read.memoryMonitor?.limitBytes !== undefined && { limitBytes: read.memoryMonitor.limitBytes }),
    },
    maxPendingTasks: read.maxPendingTasks ?? MAX_PENDING_TASKS,
    ignoreReinit: read.ignoreReinit ?? false,
    token: read.token ?? (environment.MOBULA_TOKEN || undefined),
    tls: read.tls,
    tracing: read.tracing ?? tracingFrom(environment.MOBULA_TRACING),
  };
}

// ── the calls on objects ─────────────────────────────────────────────────────────────────────────────────────────────

const signal: Check<AbortSignal> = (value, at) =>
  value instanceof AbortSignal ? value : refuse(at, value, "an AbortSignal");
const getTable = { timeoutMs: milliseconds(0), signal } as const satisfies CheckTable;

export interface GetSettings {
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal | undefined;
}
export function normalizeGetOptions(options: unknown): GetSettings {
  const read = readOptions("get()", getTable, options);
  return { timeoutMs: read.timeoutMs, signal: read.signal };
}

export interface WaitSettings extends GetSettings {
  readonly numReturns: number;
  readonly fetchLocal: boolean;
}
/** @param count how many refs and streams are waited for; at least 1. */
export function normalizeWaitOptions(options: unknown, count: number): WaitSettings {
  if (count < 1) throw new InvalidOptionError("wait() got an empty list; it must have at least one ref or stream");
  const table = { ...getTable, numReturns: wholeNumber(1, count), fetchLocal: aBoolean } as const;
  const read = readOptions("wait()", table, options);
  return {
    timeoutMs: read.timeoutMs,
    signal: read.signal,
    numReturns: read.numReturns ?? 1,
    fetchLocal: read.fetchLocal ?? true,
  };
}

const cancelTable = { force: aBoolean, recursive: aBoolean } as const satisfies CheckTable;
export interface CancelSettings {
  readonly force: boolean;
  readonly recursive: boolean;
}
export function normalizeCancelOptions(options: unknown): CancelSettings {
  const read = readOptions("cancel()", cancelTable, options);
  return { force: read.force ?? false, recursive: read.recursive ?? true };
}

const putTable = { copies: wholeNumber(1) } as const satisfies CheckTable;
export function normalizePutOptions(options: unknown): { readonly copies: number } {
  return { copies: readOptions("put()", putTable, options).copies ?? 1 };
}

const killTable = { noRestart: aBoolean } as const satisfies CheckTable;
export function normalizeKillOptions(options: unknown): { readonly noRestart: boolean } {
  return { noRestart: readOptions("kill()", killTable, options).noRestart ?? true };
}
