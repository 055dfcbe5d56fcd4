/**
 * The code of classes and how to host them, kept once for all actors of a class. A creator may send it with its first actor of a class only,
 * so it stays until that job is over and no actor needs it for a restart; a worker is sent it once.
 */
import type { JobId, WorkerId } from "../base/mod.ts";
import type { ActorSpec } from "../wire/messages.ts";

const EMPTY = new Uint8Array(0);

interface Code {
  readonly bytes: Uint8Array;
  readonly host: Uint8Array;
  readonly jobs: Set<JobId>;
  users: number;
}

export interface ActorCodes {
  /** Counts one user; the spec without its code. Undefined: the code is not known and was not sent. */
  keep(jobId: JobId, spec: ActorSpec): ActorSpec | undefined;
  /** One user fewer. */
  drop(codeKey: string): void;
  /** How to host actors of the class, as its creator packed it. */
  hostOf(codeKey: string): Uint8Array;
  /** The spec with all that travels once. */
  whole(spec: ActorSpec): ActorSpec;
  /** The spec as this worker needs it: with the code the first time, without it later. */
  forWorker(workerId: WorkerId, spec: ActorSpec): ActorSpec;
  workerGone(workerId: WorkerId): void;
  jobGone(jobId: JobId): void;
}

export function createActorCodes(): ActorCodes {
  const codes = new Map<string, Code>();
  const sent = new Map<WorkerId, Set<string>>();

  function dropUnused(codeKey: string, code: Code): void {
    if (code.users === 0 && code.jobs.size === 0) codes.delete(codeKey);
  }

  function whole(spec: ActorSpec): ActorSpec {
    const code = codes.get(spec.codeKey);
    return code === undefined ? spec : { ...spec, code: code.bytes, host: code.host };
  }

  return {
    keep(jobId, spec) {
      let code = codes.get(spec.codeKey);
      if (code === undefined) {
        if (spec.code.length === 0) return undefined;
        code = { bytes: spec.code, host: spec.host, jobs: new Set(), users: 0 };
        codes.set(spec.codeKey, code);
      }
      code.jobs.add(jobId);
      code.users++;
      return spec.code.length === 0 ? spec : { ...spec, code: EMPTY, host: EMPTY };
    },

    drop(codeKey) {
      const code = codes.get(codeKey);
      if (code === undefined) return;
      code.users--;
      dropUnused(codeKey, code);
    },

    hostOf: (codeKey) => codes.get(codeKey)?.host ?? EMPTY,
    whole,

    forWorker(workerId, spec) {
      let has = sent.get(workerId);
      if (has === undefined) {
        has = new Set();
        sent.set(workerId, has);
      }
      if (has.has(spec.codeKey)) return spec;
      has.add(spec.codeKey);
      return whole(spec);
    },

    workerGone: (workerId) => void sent.delete(workerId),

    jobGone(jobId) {
      for (const [codeKey, code] of codes) if (code.jobs.delete(jobId)) dropUnused(codeKey, code);
    },
  };
}
