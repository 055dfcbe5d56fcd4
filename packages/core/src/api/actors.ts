/** Finding, listing and leaving actors; what runs now. */
import { InvalidOptionError } from "../base/errors.ts";
import type { ActorId } from "../base/ids.ts";
import { fromUnits, type Resources } from "../base/resources.ts";
import { currentExecution, Handle } from "../client/mod.ts";
import { unpack } from "../wire/mod.ts";
import type { HostSettings } from "../worker/mod.ts";
import { client } from "./current.ts";
import { groupOf } from "./placement.ts";
import type {
  ActorInfo,
  GetActorFunction,
  ListActorsFunction,
  NodeInfo,
  RuntimeContext,
  RuntimeContextFunction,
} from "./types.ts";

/**
 * A handle of an actor that was given a `name`. It is typed by what the program says it is: `getActor<Counter>("hits")`.
 *
 * @param options.namespace default: this program's.
 * @throws ActorNotFoundError when no such actor lives.
 */
export const getActor = (async (name: string, options?: { readonly namespace?: string }) => {
  if (typeof name !== "string" || name === "") throw new InvalidOptionError("getActor() takes the name of an actor");
  const current = client();
  const namespace = options?.namespace ?? current.namespace;
  const found = (await current.port.query("get-actor", { name, namespace })) as { actorId: ActorId; host: Uint8Array };
  const { meta } = unpack(found.host) as HostSettings;
  return current.adoptHandle(found.actorId, Handle.metaFrom(meta), true);
}) as unknown as GetActorFunction;

/** The actors of this namespace, or of all of them with `allNamespaces`. */
export const listActors: ListActorsFunction = async (options) => {
  const current = client();
  const namespace = options?.allNamespaces ? null : current.namespace;
  return (await current.port.query("list-actors", { namespace })) as readonly ActorInfo[];
};

/**
 * Ends the actor that runs this, after the calls before this one. Never returns: the call rejects with `ActorDiedError`.
 *
 * @throws InvalidOptionError outside of an actor.
 */
export async function exitActor(): Promise<never> {
  const execution = currentExecution();
  if (!execution?.exitActor) throw new InvalidOptionError("exitActor() is for methods of actors");
  execution.exitActor();
  return new Promise<never>(() => {
    // The actor's end rejects this call at its caller.
  });
}

/** The nodes: on one machine one. */
export const nodes = async (): Promise<readonly NodeInfo[]> =>
  (await client().port.query("nodes", null)) as readonly NodeInfo[];
/** What all nodes have together; memory in bytes. */
export const clusterResources = async (): Promise<Resources> =>
  (await client().port.query("cluster-resources", null)) as Resources;
/** What of it no task or actor holds now. */
export const availableResources = async (): Promise<Resources> =>
  (await client().port.query("available-resources", null)) as Resources;

const never = new AbortController().signal;

/**
 * What runs here: ids, attempt, resources, and the `signal` that is aborted on cancel, timeout and shutdown. Works in
 * the driver too, where there is no task.
 *
 * @throws NotInitializedError before `init`.
 */
export const runtimeContext = (() => {
  const current = client();
  const execution = currentExecution();
  const base = { jobId: current.jobId, nodeId: current.nodeId, namespace: current.namespace };
  if (!execution) {
    return {
      ...base,
      workerId: null,
      attempt: 0,
      resources: {},
      accelerators: { gpu: [] },
      signal: never,
      wasRestarted: false,
    } satisfies RuntimeContext;
  }
  const context = {
    ...base,
    taskId: execution.taskId,
    workerId: execution.workerId,
    attempt: execution.attempt,
    resources: fromUnits(execution.resources),
    accelerators: { gpu: execution.gpus },
    get signal() {
      return execution.signal();
    },
    wasRestarted: execution.wasRestarted,
    ...(execution.bundle && { placementGroup: groupOf(execution.bundle) }),
  };
  if (execution.actorId === undefined) return context;
  // Defined and not spread: a handle of one's own keeps the actor, so it is made for those who ask for it.
  return Object.defineProperties(context, {
    actorId: { value: execution.actorId, enumerable: true },
    self: { get: () => execution.self?.(), enumerable: true },
  });
}) as unknown as RuntimeContextFunction;
