/**
 * The code of classes and how to host them, kept once for all actors of a class. A creator may send it with its first actor of a class only,
 * so it stays until that job is over and no actor needs it for a restart; a worker is sent it once.
 */
import type { JobId, WorkerId } from "../base/mod.ts";
import type { ActorSpec } from "../wire/messages.ts";
import { pack, unpack } from "../wire/mod.ts";
import type { StateChange } from "./kv.ts";

const EMPTY = new Uint8Array(0);

interface Code {
  readonly bytes: Uint8Array;
  readonly host: Uint8Array;
  readonly jobs: Set<JobId>;
  users: number;
  /** With all its jobs. */
  isSaved: boolean;
}

export const CODE_PREFIX = "actor-code/";

interface SavedCode {
  readonly code: Uint8Array;
  readonly host: Uint8Array;
  readonly jobs: readonly JobId[];
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
  /** What must be written down with a first actor of the class, so that others of its job need not bring the code. */
  savingChanges(codeKey: string): readonly StateChange[];
  /** Whether it is written down, or what is to write it is under way. */
  isSaved(codeKey: string): boolean;
  /** Changes with it in them were not written. */
  notSaved(codeKey: string): void;
  restore(codeKey: string, value: Uint8Array): void;
}

/** @param dropped of one that was written down: nobody needs it any more. */
export function createActorCodes(dropped: (codeKey: string) => void): ActorCodes {
  const codes = new Map<string, Code>();
  const sent = new Map<WorkerId, Set<string>>();

  function dropUnused(codeKey: string, code: Code): void {
    if (code.users > 0 || code.jobs.size > 0) return;
    codes.delete(codeKey);
    if (code.isSaved) dropped(codeKey);
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
        code = { bytes: spec.code, host: spec.host, jobs: new Set(), users: 0, isSaved: false };
        codes.set(spec.codeKey, code);
      }
      if (!code.jobs.has(jobId)) code.isSaved = false;
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

    savingChanges(codeKey) {
      const code = codes.get(codeKey);
      if (code === undefined || code.isSaved) return [];
      code.isSaved = true;
      const saved: SavedCode = { code: code.bytes, host: code.host, jobs: [...code.jobs] };
      return [{ key: CODE_PREFIX + codeKey, value: pack(saved) }];
    },

    isSaved: (codeKey) => codes.get(codeKey)?.isSaved ?? true,

    notSaved(codeKey) {
      const code = codes.get(codeKey);
      if (code !== undefined) code.isSaved = false;
    },

    restore(codeKey, value) {
      // Our own bytes, under the schema version that the store has checked.
      const { code, host, jobs } = unpack(value) as SavedCode;
      codes.set(codeKey, { bytes: code, host, jobs: new Set(jobs), users: 0, isSaved: true });
    },
  };
}
