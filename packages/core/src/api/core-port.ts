/**
 * The public functions that the helpers (`map`, `ActorPool`, `Queue`, …) are built on, and nothing else of the runtime.
 * The runtime installs itself once when it is loaded; tests install a fake. Helpers look it up at each call, so that
 * their own instances hold no reference to it and can travel to other processes.
 */
import { InternalError } from "../base/errors.ts";
import type { Resources } from "../base/resources.ts";
import type { BarState } from "../wire/mod.ts";
import type {
  CancelFunction,
  GetFunction,
  IsObjectRefFunction,
  KillFunction,
  PutFunction,
  ReleaseFunction,
  RemoteFunctionFactory,
  RuntimeContextFunction,
  WaitFunction,
} from "./types.ts";

export interface CoreApi {
  readonly remote: RemoteFunctionFactory;
  readonly get: GetFunction;
  readonly put: PutFunction;
  readonly wait: WaitFunction;
  readonly cancel: CancelFunction;
  readonly release: ReleaseFunction;
  readonly kill: KillFunction;
  readonly isObjectRef: IsObjectRefFunction;
  readonly runtimeContext: RuntimeContextFunction;
  readonly clusterResources: () => Promise<Resources>;
  /** False in workers, whose output reaches a person only through the driver. */
  readonly isDriverProcess: () => boolean;
  /** A driver tells its node how far a bar is, for the dashboard; before `init` there is nobody to tell. */
  readonly tellBar: (bar: BarState) => void;
}

let installed: CoreApi | undefined;

export function installCore(core: CoreApi): void {
  installed = core;
}

export function core(): CoreApi {
  if (installed === undefined) throw new InternalError("a helper was used before the runtime was loaded");
  return installed;
}
