/**
 * Words for what cannot be shipped: what it is, and what to do instead. Shared by the errors and by
 * inspectSerializability.
 */
import { EventEmitter } from "node:events";
import { Stream } from "node:stream";
import { types } from "node:util";
import { classOf, findObstacle, type Obstacle } from "./classes.ts";

export interface Words {
  readonly type: string;
  readonly advice: string;
}

const REBUILD = "make it where it is used (inside the task or the actor), or registerSerializer its class";

export const PROXY: Words = {
  type: "a proxy, whose traps would be lost",
  advice: "ship the object behind it, or a plain copy ({ ...value })",
};
/** Words for a function or class that no customizer takes. */
export function functionWords(fn: object): Words {
  const isClass = /^class\b/.test(Function.prototype.toString.call(fn));
  const name = "name" in fn && typeof fn.name === "string" ? fn.name : "";
  return {
    type: isClass ? `the class ${name}` : "a function",
    advice: isClass
      ? "nothing here can ship classes; pass plain data ({ ...instance })"
      : "nothing here can ship functions; pass data, or the result of calling it",
  };
}
export const SHARED_MEMORY: Words = {
  type: "a SharedArrayBuffer, which only threads of one process can share",
  advice: "copy it into an ordinary ArrayBuffer",
};
export const DETACHED: Words = {
  type: "a detached ArrayBuffer, whose bytes were transferred away",
  advice: "ship it before transferring it",
};
export const LOCAL_SYMBOL: Words = {
  type: "a symbol that exists only in this process",
  advice: "use Symbol.for(name), which is the same symbol everywhere",
};
export const HIDDEN_BY_SYMBOL: Words = {
  type: "a property under a symbol that exists only in this process",
  advice: "use Symbol.for(name) as its key, or registerSerializer the class",
};
export const EARLY_CYCLE: Words = {
  type: "a reference back to a value that has to be complete before it",
  advice: "break the cycle (a serializer's data must not contain its own instance, nor a class its own base)",
};
export const TOO_DEEP: Words = {
  type: "nested too deeply inside serializers or base classes",
  advice: "flatten it (an array of items with indices as links)",
};
export const TOO_LARGE: Words = {
  type: "larger than one value may be (4 GiB besides its buffers)",
  advice: "keep big data in typed arrays, or split it into several objects",
};

/** Words for an object that its look alone refuses; undefined when it may be shippable. */
export function refuseByLook(value: object): Words | undefined {
  if (value === process.env) {
    return {
      type: "process.env, which belongs to one process",
      advice: "copy what you need ({ ...process.env }), or read it inside the task",
    };
  }
  if (types.isPromise(value)) {
    return { type: "a promise", advice: "await it first and ship the result" };
  }
  if (types.isWeakMap(value) || types.isWeakSet(value)) {
    const name = types.isWeakMap(value) ? "WeakMap" : "WeakSet";
    return { type: `a ${name}, whose content cannot be listed`, advice: `use a ${name.slice(4)}` };
  }
  if (value instanceof WeakRef) {
    return { type: "a WeakRef", advice: "ship what it points to (deref())" };
  }
  if (types.isGeneratorObject(value)) {
    return { type: "a generator", advice: "ship the items ([...generator]), or make a task of the generator function" };
  }
  if (types.isMapIterator(value) || types.isSetIterator(value)) {
    return ITERATOR;
  }
  // By name first: the checks themselves take 13 µs each.
  if (KEY_CLASS.test(className(value)) && (types.isKeyObject(value) || types.isCryptoKey(value))) {
    return {
      type: withArticle(className(value)),
      advice: "export it first (key.export()), and import it where it is used",
    };
  }
  if (value instanceof MessagePort) {
    return { type: "a MessagePort", advice: "use an actor or a Queue to talk between processes" };
  }
  if (value instanceof Stream) {
    const name = className(value);
    const isSocket = /Socket/.test(name) || "remoteAddress" in value;
    return {
      type: isSocket ? `a socket (${name})` : `a stream (${name})`,
      advice: isSocket
        ? "open it where it is used (inside the task or the actor)"
        : "read it first and ship the data, or open it where it is used",
    };
  }
  if (value instanceof AbortSignal || value instanceof AbortController) {
    return {
      type: withArticle(className(value)),
      advice: "cancel(ref) cancels a task, which sees runtimeContext().signal",
    };
  }
  if (types.isExternal(value)) {
    return { type: "a pointer of a native addon", advice: REBUILD };
  }
  if (types.isModuleNamespaceObject(value)) {
    return { type: "a module", advice: "import it where it is used" };
  }
  return undefined;
}

const KEY_CLASS = /KeyObject$|^CryptoKey$/;
const ITERATOR: Words = { type: "an iterator", advice: "ship the items ([...iterator])" };

function obstacleWords(obstacle: Obstacle): Words {
  switch (obstacle.kind) {
    case "iterator":
      return ITERATOR;
    case "native":
      return { type: `${withArticle(obstacle.className)}, whose state is inside the engine`, advice: REBUILD };
    case "private":
      return {
        type: `${withArticle(obstacle.className)} with private state (${obstacle.member}) without a serializer`,
        advice: `registerSerializer(${obstacle.className}, { serialize, deserialize })`,
      };
  }
}

/** Words for an instance whose class keeps state out of sight; undefined when its own properties are all there is. */
export function refuseByClass(prototype: object, isBuiltIn: boolean): Words | undefined {
  const obstacle = findObstacle(prototype, isBuiltIn);
  return obstacle && obstacleWords(obstacle);
}

/** Words for an object with properties under local symbols, when the object and not the property is to blame. */
export function hiddenStateWords(holder: object): Words | undefined {
  if (holder instanceof EventEmitter || holder instanceof EventTarget) {
    return { type: `${withArticle(className(holder))}, which has listeners and hidden state`, advice: REBUILD };
  }
  return undefined;
}

const withArticle = (name: string): string => `${/^[AEIOU]/i.test(name) ? "an" : "a"} ${name}`;

function className(value: object): string {
  const prototype: object | null = Object.getPrototypeOf(value);
  return (prototype && classOf(prototype)?.name) || Object.prototype.toString.call(value).slice(8, -1);
}
