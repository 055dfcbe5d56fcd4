/**
 * Where async functions wait that were found in a heap snapshot. V8's inspector knows the place of each, but finds an object
 * by its number only by going through the whole heap, while the program stands still: so as many are asked for as there is
 * time, and of the others it is said where they begin.
 */
import { monotonicMs } from "../base/clock.ts";
import type { StackFrame, SuspendedAsked, SuspendedPlaces } from "../wire/inspection.ts";
import type { InspectorClient } from "./inspector-client.ts";
import { placesIn } from "./worker-inspector.ts";

/** For all of them together; one that has begun is waited for. */
const STILL_MS_MAX = 2_000;
const ONE_MS = 30_000;
const ASK_MS = 2_000;

interface RemoteObject {
  readonly result: { readonly objectId?: string; readonly value?: unknown };
}

interface Properties {
  readonly internalProperties?: readonly {
    readonly name: string;
    readonly value?: { readonly value?: { readonly lineNumber: number; readonly columnNumber: number } };
  }[];
}

/** @param client by which the snapshot was taken. @throws ConnectionLostError when it does not answer. */
export async function suspendedPlaces(
  client: InspectorClient,
  functions: readonly SuspendedAsked[],
  executions: readonly number[],
): Promise<SuspendedPlaces> {
  const places = functions.map(({ url, line, column }) => ({ url, line, column }));
  let exact = 0;
  let stillMs = 0;
  /** Undefined: the time is over, or there is no such object any more. */
  const find = async <T>(objectId: number, use: (remote: string) => Promise<T>): Promise<T | undefined> => {
    if (stillMs > STILL_MS_MAX) return undefined;
    const startedAt = monotonicMs();
    try {
      const { result } = (await client.post(
        "HeapProfiler.getObjectByHeapObjectId",
        { objectId: String(objectId), objectGroup: GROUP },
        ONE_MS,
      )) as RemoteObject;
      return result.objectId === undefined ? undefined : await use(result.objectId);
    } catch {
      return undefined; // It went on and has ended, or the process has: that is seen by the next question.
    } finally {
      stillMs += monotonicMs() - startedAt;
    }
  };
  const taskIds: (string | null)[] = [];
  for (const id of executions) taskIds.push((await find(id, (remote) => taskIdOf(client, remote))) ?? null);
  // The innermost come first: those count most.
  for (const [index, { objectId, url }] of functions.entries()) {
    const place = await find(objectId, (remote) => placeOf(client, remote));
    if (!place) continue;
    places[index] = { url, ...place };
    exact++;
  }
  await client.post("Runtime.releaseObjectGroup", { objectGroup: GROUP }, ASK_MS);
  const frames = JSON.parse(String(await client.evaluate(placesIn(places), ASK_MS))) as StackFrame[];
  return { frames, exact, taskIds, stillMs };
}

const GROUP = "mobula";

async function placeOf(
  client: InspectorClient,
  objectId: string,
): Promise<{ line: number; column: number } | undefined> {
  const { internalProperties = [] } = (await client.post(
    "Runtime.getProperties",
    { objectId, ownProperties: true },
    ASK_MS,
  )) as Properties;
  const place = internalProperties.find(({ name }) => name === "[[GeneratorLocation]]")?.value?.value;
  return place && { line: place.lineNumber, column: place.columnNumber };
}

async function taskIdOf(client: InspectorClient, objectId: string): Promise<string | undefined> {
  const { result } = (await client.post(
    "Runtime.callFunctionOn",
    { objectId, functionDeclaration: "function () { return this.taskId; }", returnByValue: true, silent: true },
    ASK_MS,
  )) as RemoteObject;
  return typeof result.value === "string" ? result.value : undefined;
}
