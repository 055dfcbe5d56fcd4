/** `remote(fn)` and `remote(Class)`: functions become tasks, classes become actors. */
import { createHash } from "node:crypto";
import { InvalidOptionError, SerializationError } from "../base/errors.ts";
import { newActorId } from "../base/ids.ts";
import {
  type Client,
  currentExecution,
  type EncodedArgs,
  Handle,
  type HandleMeta,
  handleState,
  type MethodMeta,
  NO_CODE,
  type PackedCode,
  setMethodOverrides,
  shipByCustomizer,
  trackMore,
} from "../client/mod.ts";
import type { Template } from "../owner/mod.ts";
import { type ActorOptionsRecord, type ActorSpec, LANGUAGE, type Placement, type RuntimeEnv } from "../wire/mod.ts";
import { packHostSettings } from "../worker/mod.ts";
import { client as currentClient } from "./current.ts";
import {
  type ActorSettings,
  changesHosting,
  type MethodSettings,
  mergeOptions,
  normalizeActorOptions,
  normalizeMethodOptions,
  normalizeTaskOptions,
  refuseInline,
  refuseStreamReturns,
  type TaskSettings,
} from "./options.ts";
import { capturedBy } from "./placement.ts";
import { environmentFor } from "./runtime-env.ts";
import type { AnyClass, AnyFunction, RemoteFunctionFactory, RetryExceptions } from "./types.ts";
import { warnOnce } from "./warnings.ts";

/** A function or class whose captured values are larger than this is worth a warning. */
const LARGE_CODE_BYTES = 1024 * 1024;

const isClass = (value: AnyFunction): boolean => /^class\b/.test(Function.prototype.toString.call(value));

const isGeneratorFunction = (fn: unknown): boolean => {
  const name = typeof fn === "function" ? Object.getPrototypeOf(fn)?.constructor?.name : "";
  return name === "GeneratorFunction" || name === "AsyncGeneratorFunction";
};

function makeRemote(target: unknown, options?: object): unknown {
  if (typeof target !== "function") {
    throw new InvalidOptionError(
      `remote() takes a function or a class, not ${target === null ? "null" : typeof target}`,
    );
  }
  const callable = target as AnyFunction;
  if (isClass(callable)) return RemoteClassImpl.make(callable as unknown as AnyClass, options);
  return RemoteFunctionImpl.make(callable, options);
}

/**
 * Makes a function or class remote: `fn.remote(...args)` submits a task, `Class.remote(...args)` creates an actor. Takes
 * functions of every kind, closures and generators included; a generator gives an `ObjectRefStream`. What a
 * function captures is copied when it is first submitted. May be called before `init`.
 *
 * @throws InvalidOptionError for a wrong option.
 * @example const square = remote((x: number) => x * x); await get(square.remote(7));
 */
export const remote = makeRemote as unknown as RemoteFunctionFactory;

// ── functions ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The packed function, shared by everything made from one `remote()` call with `options()`. */
interface PackedFunction {
  client: Client | undefined;
  serializersKnown: number;
  codes: Map<RetryExceptions, PackedCode>;
}

class RemoteFunctionImpl {
  declare private fn: AnyFunction;
  declare private given: object | undefined;
  declare private settings: TaskSettings;
  declare private packed: PackedFunction;
  declare private isStream: boolean;
  declare remote: (...args: readonly unknown[]) => unknown;
  private registeredWith: Client | undefined = undefined;
  private serializersKnown = 0;
  /** The placement group that captured it when it was registered. */
  private capturer: string | undefined = undefined;
  private code = NO_CODE;
  private template = 0;

  static make(fn: AnyFunction, given: object | undefined, packed?: PackedFunction): RemoteFunctionImpl {
    const made = new RemoteFunctionImpl();
    made.fill(fn, given, packed);
    return made;
  }

  /** Apart from the constructor, because a function that captures its own remote form arrives in two steps. */
  fill(fn: AnyFunction, given: object | undefined, packed?: PackedFunction): void {
    this.fn = fn;
    this.given = given;
    this.settings = normalizeTaskOptions(given);
    this.isStream = isGeneratorFunction(fn);
    if (this.isStream) refuseStreamReturns("remote()", this.settings.numReturns);
    this.packed = packed ?? { client: undefined, serializersKnown: 0, codes: new Map() };
    this.remote = (...args) => this.submit(args);
  }

  /** What makes it again in another process. */
  get parts(): readonly [AnyFunction, object | undefined] {
    return [this.fn, this.given];
  }

  private get name(): string {
    return this.settings.name ?? (this.fn.name || "anonymous");
  }

  options(overrides: object): RemoteFunctionImpl {
    return RemoteFunctionImpl.make(this.fn, mergeOptions(this.given, overrides), this.packed);
  }

  private submit(args: readonly unknown[]): unknown {
    const client = currentClient();
    return client.run(() => this.submitTo(client, args));
  }

  private submitTo(client: Client, args: readonly unknown[]): unknown {
    const bundle = this.settings.isAnywhere ? currentExecution()?.bundle : undefined;
    const capturer = bundle?.captures && bundle.groupId;
    if (
      this.registeredWith === client &&
      this.serializersKnown === client.values.serializers.version &&
      this.capturer === capturer
    ) {
      return this.submitRegistered(client, args);
    }
    const wasPacked = this.packed.client === client;
    this.register(client, capturedBy(bundle));
    this.capturer = capturer;
    try {
      return this.submitRegistered(client, args);
    } catch (error) {
      // A refused call captures nothing: the next one takes the values of its own time.
      if (!wasPacked) this.forget(client);
      throw error;
    }
  }

  private submitRegistered(client: Client, args: readonly unknown[]): unknown {
    const { numReturns } = this.settings;
    const tracing = client.tracingNow;
    const sent = tracing ? tracing.submit(this.name, args, client.jobId) : args;
    const encoded = client.values.encodeArgs(sent, this.code);
    const seq = client.takeSeqs(numReturns);
    client.countSubmission(seq);
    client.port.submit(seq, this.template, encoded.args, encoded.deps, encoded.nested);
    if (this.isStream) return client.trackStream(seq, this.settings.streamBufferItems);
    const first = client.track(seq);
    return numReturns === 1 ? first : trackMore(client, first, numReturns);
  }

  private register(client: Client, captured: Placement | undefined): void {
    const { settings, packed } = this;
    if (this.registeredWith === client) this.drop(client);
    const { name } = this;
    const { version } = client.values.serializers;
    if (packed.client !== client || packed.serializersKnown !== version) {
      packed.client = client;
      packed.serializersKnown = version;
      packed.codes = new Map();
    }
    let code = packed.codes.get(settings.retryExceptions);
    if (!code) {
      code = client.values.encodeCode([this.fn, settings.retryExceptions]);
      packed.codes.set(settings.retryExceptions, code);
      if (code.bytes.length > LARGE_CODE_BYTES) {
        warnOnce(
          `large-capture ${name}`,
          `function ${name} captures ${(code.bytes.length / 2 ** 20).toFixed(1)} MiB, which every worker that runs it is sent: put() the large value once and pass the ref`,
        );
      }
    }
    const template: Template = {
      id: client.takeRegistration(),
      name,
      language: LANGUAGE,
      code: code.bytes,
      nested: code.nested,
      demand: demandOf(name, settings, environmentOf(client, "remote()", settings), captured),
      numReturns: settings.numReturns,
      isStream: this.isStream,
      streamBufferItems: settings.streamBufferItems,
      maxRetries: settings.maxRetries,
      retryDelayMs: settings.retryDelayMs,
      timeoutMs: settings.timeoutMs ?? 0,
      maxCalls: settings.maxCalls,
    };
    client.port.template(template);
    this.template = template.id;
    this.code = code;
    this.registeredWith = client;
    this.serializersKnown = version;
    templateRegistry.register(this, { client, id: template.id }, this);
  }

  private forget(client: Client): void {
    this.drop(client);
    this.packed.codes.clear();
  }

  private drop(client: Client): void {
    templateRegistry.unregister(this);
    client.port.dropTemplate(this.template);
    this.registeredWith = undefined;
  }
}

/** A template is dropped with the function it was made for, so that fresh closures in a loop leave nothing behind. */
const templateRegistry = new FinalizationRegistry<{ client: Client; id: number }>(({ client, id }) => {
  if (!client.isClosed) client.port.dropTemplate(id);
});

/** What a task or actor says, on top of what its job (or the task that submits it) was started with. */
function environmentOf(
  client: Client,
  call: string,
  { runtimeEnv: own, inspect }: TaskSettings | ActorSettings,
): RuntimeEnv | undefined {
  if (client.isInline) {
    refuseInline(call, own, inspect);
    return undefined;
  }
  const environment = environmentFor(client, call, own);
  if (inspect === false) return environment;
  // Its node gives it a port, see node/debug-options.ts; and what differs by this has workers of its own.
  const option = inspect === "brk" ? "--inspect-brk" : "--inspect";
  return { ...environment, nodeOptions: [...(environment?.nodeOptions ?? []), option] };
}

function demandOf(
  name: string,
  settings: TaskSettings,
  runtimeEnv: RuntimeEnv | undefined,
  captured: Placement | undefined,
): Template["demand"] {
  const { resources, priority, placement = captured } = settings;
  const sorted = Object.entries(resources).sort(([left], [right]) => (left < right ? -1 : 1));
  return {
    key: JSON.stringify([sorted, priority, runtimeEnv ?? null, placement ?? null]),
    resources,
    priority,
    name,
    ...(runtimeEnv && { runtimeEnv }),
    ...(placement && { placement }),
  };
}

// ── classes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The packed class, shared by everything made from one `remote()` call with `options()`. */
interface PackedClass {
  client: Client | undefined;
  serializersKnown: number;
  code: PackedCode;
  methods: ReturnType<typeof methodsOf>;
}

/** How actors of a class are hosted, shared by everything made with `options()` that leave it as it is. */
interface Hosting {
  client: Client | undefined;
  serializersKnown: number;
  codeKey: string;
  host: Uint8Array;
  meta: HandleMeta | undefined;
}

type Hosted = Hosting & { readonly meta: HandleMeta };

class RemoteClassImpl {
  declare private type: AnyClass;
  declare private given: object | undefined;
  declare private settings: ActorSettings;
  declare private packed: PackedClass;
  declare private hosting: Hosting;
  declare remote: (...args: readonly unknown[]) => Handle;

  static make(type: AnyClass, given: object | undefined, packed?: PackedClass, hosting?: Hosting): RemoteClassImpl {
    const made = new RemoteClassImpl();
    made.fill(type, given, packed, hosting);
    return made;
  }

  /** See RemoteFunctionImpl.fill. */
  fill(type: AnyClass, given: object | undefined, packed?: PackedClass, hosting?: Hosting): void {
    this.type = type;
    this.given = given;
    this.settings = normalizeActorOptions(given);
    this.packed = packed ?? { client: undefined, serializersKnown: 0, code: NO_CODE, methods: [] };
    this.hosting = hosting ?? {
      client: undefined,
      serializersKnown: 0,
      codeKey: "",
      host: NO_CODE.bytes,
      meta: undefined,
    };
    this.remote = (...args) => this.create(args);
  }

  get parts(): readonly [AnyClass, object | undefined] {
    return [this.type, this.given];
  }

  options(overrides: object): RemoteClassImpl {
    const given = mergeOptions(this.given, overrides);
    return RemoteClassImpl.make(this.type, given, this.packed, changesHosting(overrides) ? undefined : this.hosting);
  }

  private create(args: readonly unknown[]): Handle {
    const client = currentClient();
    return client.run(() => this.createWith(client, args));
  }

  private createWith(client: Client, args: readonly unknown[]): Handle {
    const wasPacked = this.packed.client === client;
    const { code } = this.packedWith(client);
    const hosting = this.hostedWith(client);
    const { meta } = hosting;
    const tracing = client.tracingNow;
    const sent = tracing ? tracing.submit(`${meta.className}.constructor`, args, client.jobId) : args;
    let encoded: EncodedArgs;
    try {
      encoded = client.values.encodeArgs(sent, code);
      if (encoded.shared.length > 0) throw this.sharing(encoded.shared);
    } catch (error) {
      // As with functions: a refused call captures nothing.
      if (!wasPacked) {
        this.packed.client = undefined;
        hosting.client = undefined;
      }
      throw error;
    }
    const num = client.takeNum();
    const actorId = newActorId(client.jobId);
    client.port.createActor({
      num,
      actorId,
      concurrency: meta.concurrency,
      options: this.record(client),
      spec: specOnce(client, code, hosting),
      args: encoded.args,
      deps: encoded.deps,
      nested: code.nested.length > 0 ? [...encoded.nested, ...code.nested] : encoded.nested,
    });
    return client.trackHandle(num, actorId, meta);
  }

  /** A class is one in a process that hosts several actors of it: it cannot share something with each of them. */
  private sharing(names: readonly string[]): SerializationError {
    const name = this.type.name || "anonymous";
    return new SerializationError(
      `the arguments of class ${name} have functions that use ${names.join(", ")}, and so does the class: an actor ` +
        "cannot share variables with what it is given; pass them as an argument, or give the class a method that " +
        "the functions call",
    );
  }

  private packedWith(client: Client): PackedClass {
    const { packed } = this;
    const { version } = client.values.serializers;
    if (packed.client !== client || packed.serializersKnown !== version) {
      packed.code = client.values.encodeCode([this.type]);
      packed.methods = methodsOf(this.type);
      packed.client = client;
      packed.serializersKnown = version;
    }
    return packed;
  }

  private hostedWith(client: Client): Hosted {
    const { settings, hosting, packed } = this;
    const { meta: known, serializersKnown } = hosting;
    if (known && hosting.client === client && serializersKnown === packed.serializersKnown) {
      return hosting as Hosted; // It has a meta, as was just seen.
    }
    const groups = Object.entries(settings.concurrencyGroups);
    let concurrency = settings.maxConcurrency;
    for (const [, calls] of groups) concurrency += calls;
    // Methods that have settings and are not the class's are fields that it will have.
    const named = new Map(Object.keys(settings.methods).map((name) => [name, false]));
    for (const { name, isGenerator } of packed.methods) named.set(name, isGenerator);
    const methods = [...named].map(([name, isGenerator]) => {
      const method = settings.methods[name] ?? settings.methodDefaults;
      return [name, methodMeta(client, method, isGenerator)] as const;
    });
    const meta = Handle.newMeta({
      className: this.type.name || "anonymous",
      concurrency,
      groups: groups.map(([group]) => group),
      maxPendingCalls: settings.maxPendingCalls,
      maxTaskRetries: settings.methodDefaults.maxTaskRetries,
      methods,
    });
    const host = packHostSettings({
      language: LANGUAGE,
      meta: meta.plain,
      maxConcurrency: settings.maxConcurrency,
      concurrencyGroups: settings.concurrencyGroups,
    });
    const codeKey = createHash("sha256").update(packed.code.bytes).update(host).digest("base64url");
    return Object.assign(hosting, { client, serializersKnown: packed.serializersKnown, codeKey, host, meta });
  }

  private record(client: Client): ActorOptionsRecord {
    const { settings } = this;
    const runtimeEnv = environmentOf(client, "remote(class)", settings);
    const placement = settings.isAnywhere ? capturedBy(currentExecution()?.bundle) : settings.placement;
    return shareOptions({
      getIfExists: settings.getIfExists,
      lifetime: settings.lifetime,
      resources: settings.resources,
      maxRestarts: settings.maxRestarts,
      isolation: settings.isolation,
      maxActorsPerWorker: settings.maxActorsPerWorker,
      ...(settings.priority !== 0 && { priority: settings.priority }),
      ...(settings.name !== undefined && { name: settings.name }),
      ...(settings.namespace !== undefined && { namespace: settings.namespace }),
      ...(runtimeEnv && { runtimeEnv }),
      ...(placement && { placement }),
    });
  }
}

const OPTIONS_KEPT_MAX = 1_000;
const sharedOptions = new Map<string, ActorOptionsRecord>();

/** Equal options become one object: what is said of many actors is then said once, all the way to their host. */
function shareOptions(options: ActorOptionsRecord): ActorOptionsRecord {
  if (options.name !== undefined) return options;
  const key = JSON.stringify(options);
  const known = sharedOptions.get(key);
  if (known) return known;
  if (sharedOptions.size >= OPTIONS_KEPT_MAX) sharedOptions.clear();
  sharedOptions.set(key, options);
  return options;
}

type ClassSpec = Pick<ActorSpec, "className" | "codeKey" | "code" | "host">;
const sentCodes = new WeakMap<Client, Set<string>>();

/** The owner keeps the code of a class and how to host it: they go there with the first actor only. */
function specOnce(client: Client, code: PackedCode, { codeKey, host, meta: { className } }: Hosted): ClassSpec {
  let sent = sentCodes.get(client);
  if (!sent) {
    sent = new Set();
    sentCodes.set(client, sent);
  }
  if (sent.has(codeKey)) return { className, codeKey, code: NO_CODE.bytes, host: NO_CODE.bytes };
  sent.add(codeKey);
  return { className, codeKey, code: code.bytes, host };
}

function methodsOf(type: AnyClass): { name: string; isGenerator: boolean }[] {
  const methods = new Map<string, boolean>();
  for (let at: object | null = type.prototype; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
      if (name === "constructor" || name === "then" || typeof value !== "function" || methods.has(name)) continue;
      methods.set(name, isGeneratorFunction(value));
    }
  }
  return [...methods].map(([name, isGenerator]) => ({ name, isGenerator }));
}

function methodMeta(client: Client, settings: MethodSettings, isGenerator: boolean): MethodMeta {
  return {
    isGenerator,
    name: settings.name,
    group: settings.concurrencyGroup ?? "",
    maxRetries: settings.maxTaskRetries,
    retryDelayMs: settings.retryDelayMs,
    timeoutMs: settings.timeoutMs ?? 0,
    streamBufferItems: settings.streamBufferItems,
    retry:
      settings.retryExceptions === false
        ? NO_CODE.bytes
        : client.values.encode(settings.retryExceptions, "retryExceptions").toBytes(),
  };
}

setMethodOverrides((overrides, base, handle) => {
  const { client, meta } = handleState(handle);
  const settings = normalizeMethodOptions(
    overrides,
    {
      name: base.name,
      numReturns: 1,
      maxTaskRetries: base.maxRetries,
      retryExceptions: false,
      retryDelayMs: base.retryDelayMs,
      timeoutMs: base.timeoutMs > 0 ? base.timeoutMs : undefined,
      concurrencyGroup: base.group === "" ? undefined : base.group,
      streamBufferItems: base.streamBufferItems,
    },
    meta.groups,
  );
  if (base.isGenerator) refuseStreamReturns("method options()", settings.numReturns);
  const merged = methodMeta(client, settings, base.isGenerator);
  // A rule that the call does not give is the class's.
  const isGiven = (overrides as { readonly retryExceptions?: unknown } | undefined)?.retryExceptions !== undefined;
  const rule = isGiven ? merged.retry : base.retry;
  return { meta: { ...merged, retry: rule }, numReturns: settings.numReturns };
});

// ── remote functions and classes inside values ───────────────────────────────────────────────────────────────────────

const TAG_REMOTE_FUNCTION = 19;
const TAG_REMOTE_CLASS = 20;

shipByCustomizer(TAG_REMOTE_FUNCTION, TAG_REMOTE_CLASS, {
  encode(value) {
    if (value instanceof RemoteFunctionImpl) {
      return { tag: TAG_REMOTE_FUNCTION, head: null, children: value.parts, childNames: CHILD_NAMES };
    }
    if (value instanceof RemoteClassImpl) {
      return { tag: TAG_REMOTE_CLASS, head: null, children: value.parts, childNames: CHILD_NAMES };
    }
    return undefined;
  },
  begin(tag) {
    if (tag === TAG_REMOTE_FUNCTION) {
      const made = new RemoteFunctionImpl();
      return { value: made, finish: ([fn, given]) => made.fill(fn as AnyFunction, given as object | undefined) };
    }
    const made = new RemoteClassImpl();
    return { value: made, finish: ([type, given]) => made.fill(type as AnyClass, given as object | undefined) };
  },
});

const CHILD_NAMES = [".fn", ".options"];
