import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { InvalidOptionError } from "../base/errors.ts";
import {
  METHOD_DEFAULTS,
  mergeOptions,
  normalizeActorOptions,
  normalizeCancelOptions,
  normalizeGetOptions,
  normalizeInitOptions,
  normalizeKillOptions,
  normalizeMethodOptions,
  normalizePutOptions,
  normalizeTaskOptions,
  normalizeWaitOptions,
} from "./options.ts";
import { PlacementGroupHandle } from "./placement.ts";

/** The message of the InvalidOptionError that `call` throws. */
function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidOptionError);
    expect((error as { code: unknown }).code).toBe("INVALID_OPTION");
    return (error as Error).message;
  }
  throw new Error("it was not refused");
}

describe("task options", () => {
  test("no options give the documented defaults", () => {
    const expected = {
      name: undefined,
      resources: { cpu: 10_000 },
      numReturns: 1,
      maxRetries: 3,
      retryExceptions: false,
      retryDelayMs: 0,
      timeoutMs: undefined,
      maxCalls: 0,
      placement: undefined,
      runtimeEnv: undefined,
      inspect: false,
      streamBufferItems: 16,
      priority: 0,
      isAnywhere: true,
    };
    expect(normalizeTaskOptions(undefined)).toEqual(expected);
    expect(normalizeTaskOptions({})).toEqual(expected);
  });

  test("cpu, gpu, memory and custom resources become one demand in units of 0.0001", () => {
    expect(
      normalizeTaskOptions({ numCpus: 0.1 + 0.2, numGpus: 0.5, memory: 1024, resources: { disk: 0.0001 } }).resources,
    ).toEqual({ cpu: 3_000, gpu: 5_000, memory: 10_240_000, disk: 1 });
    expect(normalizeTaskOptions({ numCpus: 0 }).resources).toEqual({});
  });

  test("every multiple of 0.0001 is allowed and everything finer is refused", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000_000 }), fc.integer({ min: 1, max: 9 }), (units, tenths) => {
        expect(normalizeTaskOptions({ numCpus: units / 10_000 }).resources).toEqual({ cpu: units });
        expect(refusal(() => normalizeTaskOptions({ numCpus: (units + tenths / 10) / 10_000 }))).toMatch(
          /"numCpus".*multiple of 0\.0001/,
        );
      }),
    );
  });

  test.each([
    [{ numCpus: -1 }, /"numCpus" is -1; it must be a number of at least 0/],
    [{ numCpus: "2" }, /"numCpus" is "2"/],
    [{ numCpus: Number.NaN }, /"numCpus" is NaN/],
    [{ numCpus: Number.POSITIVE_INFINITY }, /"numCpus" is Infinity/],
    [{ numCpus: null }, /"numCpus" is null/],
    [{ numGpus: 1.5 }, /"numGpus" is 1\.5; it must be whole when it is above 1/],
    [{ memory: 1.5 }, /"memory" is 1\.5; it must be a whole number/],
    [{ memory: -1 }, /"memory" is -1/],
    [{ resources: [1] }, /"resources" is an array of 1/],
    [{ resources: { disk: -1 } }, /"resources\.disk" is -1/],
    [{ resources: { disk: 0.00001 } }, /"resources\.disk" is 0\.00001; it must be a multiple of 0\.0001/],
    [{ resources: { "": 1 } }, /without an empty name/],
    [{ resources: { cpu: 1 } }, /"resources\.cpu" is 1; it must be left out: use the option "numCpus"/],
    [{ resources: { GPU: 1 } }, /"resources\.GPU".*"numGpus"/],
    [{ resources: { memory: 1 } }, /"resources\.memory".*"memory"/],
    [{ numReturns: 0 }, /"numReturns" is 0; it must be a whole number of at least 1/],
    [{ numReturns: 1.5 }, /"numReturns" is 1\.5/],
    [{ maxRetries: -2 }, /"maxRetries" is -2; it must be a whole number of at least 0, or -1 for ever/],
    [{ retryExceptions: "yes" }, /"retryExceptions" is "yes"; it must be true, false, a list/],
    [{ retryExceptions: TypeError }, /"retryExceptions".*put the class into \[ \]/],
    [{ retryExceptions: [Date] }, /"retryExceptions" is an array of 1/],
    [{ retryDelayMs: -1 }, /"retryDelayMs" is -1/],
    [{ timeoutMs: 0 }, /"timeoutMs" is 0; it must be a number of milliseconds from 1 .*leave it out for no limit/],
    [{ timeoutMs: 2 ** 31 }, /"timeoutMs" is 2147483648/],
    [{ maxCalls: -1 }, /"maxCalls" is -1/],
    [{ streamBufferItems: 0 }, /"streamBufferItems" is 0/],
    [{ priority: 1001 }, /"priority" is 1001; it must be a whole number from -1000 to 1000/],
    [{ priority: 0.5 }, /"priority" is 0\.5/],
    [{ name: "" }, /"name" is ""/],
    [{ name: 5 }, /"name" is 5/],
    [{ schedulingStrategy: "pack" }, /"schedulingStrategy" is "pack"; it must be "default" or "spread"/],
    [{ runtimeEnv: { env: { A: 1 } } }, /"runtimeEnv\.env\.A" is 1; it must be a string/],
    [{ runtimeEnv: { env: { "A=B": "1" } } }, /"runtimeEnv\.env\.A=B".*without "="/],
    [{ runtimeEnv: { workingDir: "" } }, /"runtimeEnv\.workingDir" is ""/],
    [{ runtimeEnv: { nodeOptions: "--inspect" } }, /"runtimeEnv\.nodeOptions" is "--inspect"; it must be a list/],
    [{ runtimeEnv: { nodeOptions: ["inspect"] } }, /"runtimeEnv\.nodeOptions\[0\]" is "inspect"/],
    [{ runtimeEnv: { workingDir: { excludes: ["data"] } } }, /"runtimeEnv\.workingDir".* an object with its path/],
    [{ runtimeEnv: { npm: ["left-pad"] } }, /"runtimeEnv\.npm" is an array of 1; it must be true, a folder/],
    [
      { runtimeEnv: { npm: { path: ".", dependencies: {} } } },
      /"runtimeEnv\.npm\.dependencies".*left out beside "path"/,
    ],
    [
      { runtimeEnv: { npm: { allowscripts: true } } },
      /no option "runtimeEnv\.npm\.allowscripts"; did you mean "allowScripts"/,
    ],
    [{ runtimeEnv: { setup: 1 } }, /"runtimeEnv\.setup" is 1; it must be the path of a module/],
    [{ runtimeEnv: { setup: { timeoutMs: 5 } } }, /"runtimeEnv\.setup".*an object with the module/],
    [{ runtimeEnv: { timeoutMs: 0 } }, /"runtimeEnv\.timeoutMs" is 0/],
    [
      { runtimeEnv: { nodeOptions: ["--inspect=9229"] } },
      /"--inspect=9229"; it must be left out: all workers would want the same port; --inspect alone/,
    ],
    [{ runtimeEnv: { nodeOptions: ["--inspect-port=0"] } }, /must be left out: all workers would want/],
    [{ inspect: "break" }, /"inspect" is "break"; it must be true, false or "brk"/],
    [{ runtimeEnv: { nodeOptions: ["--eval=1"] } }, /must be left out: a worker runs its own program/],
    [{ runtimeEnv: { workingdir: "." } }, /no option "runtimeEnv\.workingdir"; did you mean "workingDir"/],
    [5, /options are 5; they must be an object/],
    [null, /options are null/],
    [[], /options are \[\]/],
    [() => {}, /options are function/],
  ])("%o is refused with the option, what was given and what is allowed", (options, message) => {
    expect(refusal(() => normalizeTaskOptions(options))).toMatch(message);
  });

  test("an unknown option names the one that was probably meant", () => {
    expect(refusal(() => normalizeTaskOptions({ num_cpus: 1 }))).toMatch(
      /no option "num_cpus"; did you mean "numCpus"/,
    );
    expect(refusal(() => normalizeTaskOptions({ maxRetry: 1 }))).toMatch(/did you mean "maxRetries"/);
    expect(refusal(() => normalizeTaskOptions({ maxRestarts: 1 }))).toMatch(/no option "maxRestarts"/);
    expect(refusal(() => normalizeTaskOptions({ colour: 1 }))).toMatch(
      /no option "colour"; allowed are numCpus, .*priority/,
    );
    // A name that every object inherits is not an option either.
    expect(refusal(() => normalizeTaskOptions({ toString: 1 }))).toMatch(/no option "toString"/);
  });

  test("a placement group is what placementGroup() gave, and the bundle one that it has", () => {
    const placementGroup = new PlacementGroupHandle("g", [{ cpu: 1 }]);
    const placed = (strategy: object) => normalizeTaskOptions({ schedulingStrategy: strategy as never }).placement;
    const sizes = [[1, { cpu: 1 }]];
    expect(placed({ placementGroup, bundleIndex: 0 })).toEqual({ bundle: { groupId: "g", index: 0, sizes } });
    expect(placed({ placementGroup })).toEqual({ bundle: { groupId: "g", sizes } });
    expect(refusal(() => placed({ placementGroup: {} }))).toMatch(/"schedulingStrategy.placementGroup" is/);
    expect(refusal(() => placed({ placementGroup, bundleIndex: 1 }))).toMatch(/bundleIndex" is 1; .* from 0 to 0/);
    expect(refusal(() => placed({ placementGroup, bundle: 1 }))).toMatch(/"schedulingStrategy.bundle" is 1/);
  });

  test("what selects nothing in particular is allowed", () => {
    for (const options of [{ labelSelector: {} }, { labelSelector: [{}] }, { schedulingStrategy: "default" }])
      expect(normalizeTaskOptions(options).placement).toBeUndefined();
  });

  test("where something runs is kept as it is said", () => {
    const placement = (options: object) => normalizeTaskOptions(options).placement;
    expect(placement({ schedulingStrategy: "spread" })).toEqual({ strategy: "spread" });
    expect(placement({ schedulingStrategy: { nodeId: "n1" } })).toEqual({ strategy: { nodeId: "n1", soft: false } });
    expect(placement({ labelSelector: { zone: "!in(a,b)" } })).toEqual({ selectors: [{ zone: "!in(a,b)" }] });
    expect(placement({ labelSelector: [{ zone: "a" }, {}] })).toEqual({ selectors: [{ zone: "a" }, {}] });
  });

  test.each([
    [{ labelSelector: { zone: "in(a" } }, /"labelSelector.zone" is "in\(a"; it must be "v", "!v", "in\(a,b\)"/],
    [{ labelSelector: "a" }, /"labelSelector" is "a"; it must be an object from label/],
    [{ schedulingStrategy: { nodeId: 5 } }, /"schedulingStrategy.nodeId" is 5/],
    [{ schedulingStrategy: { nodeId: "n1", softly: true } }, /no option "schedulingStrategy.softly"/],
  ])("%o is refused: it names no node", (options, message) => {
    expect(refusal(() => normalizeTaskOptions(options))).toMatch(message);
  });

  test("workers with GPUs restart after each call unless the program says otherwise", () => {
    expect(normalizeTaskOptions({ numGpus: 0.5 }).maxCalls).toBe(1);
    expect(normalizeTaskOptions({ numGpus: 1, maxCalls: 0 }).maxCalls).toBe(0);
    expect(normalizeTaskOptions({ numGpus: 1 }, { numGpus: 0 }).maxCalls).toBe(1);
    expect(normalizeTaskOptions({ numGpus: 0 }, { numGpus: 1 }).maxCalls).toBe(0);
  });

  test("overrides replace options one by one, and undefined changes nothing", () => {
    const base = { name: "a", maxRetries: 5, resources: { disk: 1 } };
    const settings = normalizeTaskOptions({ name: undefined, resources: { net: 2 } }, base);
    expect(settings).toMatchObject({ name: "a", maxRetries: 5, resources: { net: 20_000, cpu: 10_000 } });
    expect(settings.resources).not.toHaveProperty("disk");
    expect(mergeOptions({ a: 1, b: 2 }, { a: 3 })).toEqual({ a: 3, b: 2 });
    expect(mergeOptions(undefined, undefined)).toEqual({});
  });

  test("error classes, a predicate and the extremes are taken as they are", () => {
    class Mine extends TypeError {}
    const yes = () => true;
    expect(normalizeTaskOptions({ retryExceptions: [Mine, Error] }).retryExceptions).toEqual([Mine, Error]);
    expect(normalizeTaskOptions({ retryExceptions: yes }).retryExceptions).toBe(yes);
    expect(normalizeTaskOptions({ maxRetries: -1, priority: -1000, timeoutMs: 1 })).toMatchObject({
      maxRetries: -1,
      priority: -1000,
      timeoutMs: 1,
    });
  });
});

describe("actor options", () => {
  test("no options give the documented defaults", () => {
    expect(normalizeActorOptions(undefined)).toEqual({
      name: undefined,
      namespace: undefined,
      getIfExists: false,
      lifetime: "owner",
      resources: {},
      maxRestarts: 0,
      maxConcurrency: 1,
      concurrencyGroups: {},
      methodDefaults: METHOD_DEFAULTS,
      methods: {},
      maxPendingCalls: -1,
      isolation: "process",
      maxActorsPerWorker: 2_000,
      priority: 0,
      placement: undefined,
      isAnywhere: true,
      runtimeEnv: undefined,
      inspect: false,
    });
  });

  test("a method takes the call's options before its own, and its own before the actor's", () => {
    const actor = normalizeActorOptions({
      maxTaskRetries: 2,
      concurrencyGroups: { io: 4 },
      methods: { fetch: { concurrencyGroup: "io", timeoutMs: 50 } },
    });
    expect(actor.methodDefaults.maxTaskRetries).toBe(2);
    expect(actor.methods.fetch).toMatchObject({ concurrencyGroup: "io", maxTaskRetries: 2, timeoutMs: 50 });
    const call = normalizeMethodOptions({ timeoutMs: 10, numReturns: 2 }, actor.methods.fetch, ["io"]);
    expect(call).toMatchObject({ concurrencyGroup: "io", maxTaskRetries: 2, timeoutMs: 10, numReturns: 2 });
    expect(normalizeMethodOptions(undefined)).toEqual(METHOD_DEFAULTS);
  });

  test.each([
    [{ getIfExists: true }, /"getIfExists".*with the option "name"/],
    [{ lifetime: "forever" }, /"lifetime" is "forever"; it must be "owner" or "detached"/],
    [{ isolation: "thread" }, /"isolation" is "thread"; it must be "process" or "shared"/],
    [{ maxConcurrency: 0 }, /"maxConcurrency" is 0/],
    [{ maxPendingCalls: 0 }, /"maxPendingCalls" is 0; it must be a whole number of at least 1, or -1 for no limit/],
    [{ maxRestarts: -2 }, /"maxRestarts" is -2/],
    [{ concurrencyGroups: { io: 0 } }, /"concurrencyGroups\.io" is 0/],
    [{ methods: { f: { concurrencyGroup: "io" } } }, /"methods\.f\.concurrencyGroup" is "io"; .*no concurrencyGroups/],
    [
      { concurrencyGroups: { input: 1 }, methods: { f: { concurrencyGroup: "inptu" } } },
      /one of the actor's concurrencyGroups: input \(did you mean "input"\?\)/,
    ],
    [{ methods: { f: { numReturns: 2 } } }, /no option "methods\.f\.numReturns"/],
    [{ maxRetries: 1 }, /no option "maxRetries"/],
    [{ maxCalls: 1 }, /no option "maxCalls"/],
    [{ resources: { CPU: 1 } }, /use the option "numCpus"/],
    [{ isolation: "shared", numGpus: 0.5 }, /"numGpus" is 0\.5; .*isolation "shared".* Use isolation "process"/],
  ])("%o is refused", (options, message) => {
    expect(refusal(() => normalizeActorOptions(options))).toMatch(message);
  });

  test("a call's concurrency group must be one of the actor's, where they are known", () => {
    expect(refusal(() => normalizeMethodOptions({ concurrencyGroup: "io" }, METHOD_DEFAULTS, ["net"]))).toMatch(/net/);
    expect(normalizeMethodOptions({ concurrencyGroup: "io" }).concurrencyGroup).toBe("io");
    expect(refusal(() => normalizeMethodOptions({ maxRetries: 1 }))).toMatch(/did you mean "maxTaskRetries"/);
  });
});

describe("init options", () => {
  test("no options give the documented defaults", () => {
    expect(normalizeInitOptions(undefined)).toEqual({
      address: "local",
      resources: {},
      objectStoreBytes: undefined,
      spillDirectory: undefined,
      spillBytesMax: undefined,
      namespace: undefined,
      jobName: undefined,
      metadata: {},
      logToDriver: true,
      runtimeEnv: undefined,
      infeasibleTimeoutMs: 10_000,
      preemptAfterMs: 2_000,
      putTimeoutMs: 10_000,
      memoryMonitor: { threshold: 0.95, intervalMs: 250 },
      maxPendingTasks: 1_000_000,
      ignoreReinit: false,
      token: undefined,
      tracing: false,
    });
  });

  test("tracing is what the program says, else what MOBULA_TRACING says", () => {
    const read = (tracing: unknown, MOBULA_TRACING?: string) =>
      normalizeInitOptions({ tracing }, { MOBULA_TRACING }).tracing;
    expect(read(true)).toEqual({});
    expect(read({ setup: "./sdk.mjs" }, "1")).toEqual({ setup: "./sdk.mjs" });
    expect(read(undefined, "1")).toEqual({});
    expect(read(undefined, "./sdk.mjs")).toEqual({ setup: "./sdk.mjs" });
    expect(read(undefined, "0")).toBe(false);
    expect(read(false, "1")).toBe(false);
    expect(() => read("yes")).toThrow(/option "tracing" is "yes"; it must be true, false, or an object with a setup/);
  });

  test("the environment gives the address and token that the program leaves open", () => {
    const environment = { MOBULA_ADDRESS: "inline", MOBULA_TOKEN: "t" };
    expect(normalizeInitOptions({}, environment)).toMatchObject({ address: "inline", token: "t" });
    expect(normalizeInitOptions({ address: "local", token: "u" }, environment)).toMatchObject({
      address: "local",
      token: "u",
    });
    expect(normalizeInitOptions({}, { MOBULA_ADDRESS: "", MOBULA_TOKEN: "" })).toMatchObject({
      address: "local",
      token: undefined,
    });
    expect(normalizeInitOptions({}, { MOBULA_ADDRESS: "host:6380" }).address).toBe("host:6380");
    expect(refusal(() => normalizeInitOptions({}, { MOBULA_ADDRESS: "host" }))).toMatch(
      /address \(from MOBULA_ADDRESS\)" is "host"; it must be/,
    );
  });

  test("inline, what the program's own process would have to change for is refused", () => {
    const inline = (runtimeEnv: object): string =>
      refusal(() => normalizeInitOptions({ address: "inline", runtimeEnv }));
    expect(inline({ env: { A: "1" } })).toMatch(
      /^init\(\) option "runtimeEnv\.env" is an object with A; .*"inline".*one environment.* or use address "local"$/,
    );
    expect(inline({ workingDir: "/tmp" })).toMatch(/"runtimeEnv\.workingDir" is "\/tmp"/);
    expect(inline({ nodeOptions: ["--expose-gc"] })).toMatch(/"runtimeEnv\.nodeOptions"/);
    expect(
      refusal(() => normalizeInitOptions({ runtimeEnv: { workingDir: "/tmp" } }, { MOBULA_ADDRESS: "inline" })),
    ).toMatch(/"runtimeEnv\.workingDir"/);
    // What asks for nothing is no reason to refuse.
    const nothing = { env: {}, nodeOptions: [] };
    expect(normalizeInitOptions({ address: "inline", runtimeEnv: nothing }).address).toBe("inline");
  });

  test.each([
    [{ address: "host:6380", resources: { cpu: 2 } }, /"resources".*joins a cluster/],
    [{ address: "somewhere" }, /"address" is "somewhere"; it must be "local", "auto", "inline" or "host:port"/],
    [{ labels: { zone: "a" } }, /"labels".*needs a cluster/],
    [{ resources: { CPU: 2 } }, /"resources\.CPU" is 2; it must be written "cpu"/],
    [{ resources: { gpu: 0.5 } }, /"resources\.gpu" is 0\.5; it must be whole/],
    [{ resources: { cpu: -1 } }, /"resources\.cpu" is -1/],
    [{ objectStoreBytes: 1000 }, /"objectStoreBytes" is 1000; it must be a whole number of at least 1048576/],
    [{ spillBytesMax: -1 }, /"spillBytesMax" is -1/],
    [{ memoryMonitor: { threshold: 0 } }, /"memoryMonitor\.threshold" is 0/],
    [{ memoryMonitor: { treshold: 0.9 } }, /no option "memoryMonitor\.treshold"; did you mean "threshold"/],
    [{ maxPendingTasks: 0 }, /"maxPendingTasks" is 0/],
    [{ logToDriver: "no" }, /"logToDriver" is "no"; it must be true or false/],
    [{ metadata: { a: 1 } }, /"metadata\.a" is 1/],
    [{ numCpus: 2 }, /no option "numCpus"/],
  ])("%o is refused", (options, message) => {
    expect(refusal(() => normalizeInitOptions(options))).toMatch(message);
  });

  test.each([
    { resources: { cpu: 1 } },
    { objectStoreBytes: 2 ** 30 },
    { spillDirectory: "/tmp" },
    { spillBytesMax: 0 },
    { infeasibleTimeoutMs: 1 },
    { putTimeoutMs: 1 },
    { memoryMonitor: { threshold: 0.5 } },
  ])("a standing node has its own %o", (options) => {
    const message = new RegExp(`"${Object.keys(options)[0]}" is .*address "auto".*mobula start`);
    expect(refusal(() => normalizeInitOptions({ ...options, address: "auto" }))).toMatch(message);
    expect(refusal(() => normalizeInitOptions(options, { MOBULA_ADDRESS: "auto" }))).toMatch(message);
    expect(normalizeInitOptions({ address: "auto", namespace: "n", token: "t" }).address).toBe("auto");
  });

  test("a node's resources may be fractional where that means something", () => {
    expect(normalizeInitOptions({ resources: { cpu: 1.5, gpu: 2, disk: 0.5 } }).resources).toEqual({
      cpu: 1.5,
      gpu: 2,
      disk: 0.5,
    });
  });
});

describe("options of the calls on objects", () => {
  test("get takes a timeout and a signal", () => {
    const { signal } = new AbortController();
    expect(normalizeGetOptions({ timeoutMs: 0, signal })).toEqual({ timeoutMs: 0, signal });
    expect(refusal(() => normalizeGetOptions({ signal: {} }))).toMatch(/"signal" is \{\}; it must be an AbortSignal/);
    expect(refusal(() => normalizeGetOptions({ timeout: 5 }))).toMatch(/did you mean "timeoutMs"/);
  });

  test("wait asks for at least one and at most as many as there are", () => {
    expect(normalizeWaitOptions(undefined, 3)).toEqual({
      numReturns: 1,
      fetchLocal: true,
      timeoutMs: undefined,
      signal: undefined,
    });
    expect(normalizeWaitOptions({ numReturns: 3 }, 3).numReturns).toBe(3);
    expect(refusal(() => normalizeWaitOptions({ numReturns: 4 }, 3))).toMatch(/"numReturns" is 4; .* from 1 to 3/);
    expect(refusal(() => normalizeWaitOptions({ numReturns: 0 }, 3))).toMatch(/"numReturns" is 0/);
    expect(refusal(() => normalizeWaitOptions({}, 0))).toMatch(/empty list/);
  });

  test("copies are counted in whole numbers from 1", () => {
    expect(normalizePutOptions({})).toEqual({ copies: 1 });
    expect(normalizePutOptions({ copies: 2 })).toEqual({ copies: 2 });
    expect(refusal(() => normalizePutOptions({ copies: 0 }))).toMatch(/"copies" is 0; it must be/);
  });

  test("cancel and kill have their defaults", () => {
    expect(normalizeCancelOptions(undefined)).toEqual({ force: false, recursive: true });
    expect(normalizeKillOptions({})).toEqual({ noRestart: true });
  });
});
