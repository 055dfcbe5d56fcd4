/** Cold records between a program's thread and its I/O thread. */
import type { ActorId, Seq } from "../base/ids.ts";
import type { PutTally } from "../events/mod.ts";
import type { ActorCreation, ExpectedValue, MethodTemplate, NestedRef, Template } from "../owner/mod.ts";
import type { Hello, LogLines, StorePinned, ToNode, Welcome } from "../wire/mod.ts";
import type { ActorKind } from "./ring-messages.ts";

export type Asked =
  | { readonly t: "join"; readonly id: number; readonly socket: string; readonly hello: Hello }
  | { readonly t: "template"; readonly template: Template }
  | { readonly t: "drop-template"; readonly id: number }
  | { readonly t: "method"; readonly method: MethodTemplate }
  | { readonly t: "create-actor"; readonly creation: ActorCreation }
  | { readonly t: "actor-kind"; readonly place: number; readonly kind: ActorKind }
  | {
      readonly t: "borrow-actor";
      readonly num: number;
      readonly actorId: ActorId;
      readonly className: string;
      readonly concurrency: number;
      readonly isGranted: boolean;
    }
  | {
      readonly t: "put-stored";
      readonly seq: Seq;
      readonly key: number;
      readonly size: number;
      readonly copies?: number;
      readonly nested: readonly NestedRef[];
    }
  | { readonly t: "puts-seen"; readonly tallies: readonly PutTally[] }
  | { readonly t: "expect"; readonly seq: Seq; readonly value: ExpectedValue }
  | { readonly t: "unpin"; readonly keys: readonly number[] }
  | { readonly t: "abandon-stream"; readonly stream: Seq }
  | { readonly t: "cancel"; readonly seq: Seq; readonly force: boolean; readonly isRecursive: boolean }
  | { readonly t: "to-node"; readonly message: ToNode }
  | { readonly t: "query"; readonly id: number; readonly method: string; readonly params: unknown }
  | { readonly t: "explain"; readonly id: number; readonly target: { readonly seq: Seq } | { readonly actor: number } }
  /** The program ends: what is to be said last. */
  | { readonly t: "leave" };

export type Told =
  | { readonly t: "joined"; readonly id: number; readonly welcome: Welcome }
  | {
      readonly t: "answered";
      readonly id: number;
      readonly result?: unknown;
      readonly error?: { readonly code: string; readonly kind: string; readonly message: string };
    }
  | { readonly t: "pinned"; readonly seq: Seq; readonly pinned: StorePinned }
  | { readonly t: "unread-failure"; readonly name: string; readonly bytes: Uint8Array }
  | { readonly t: "warning"; readonly code: string; readonly message: string }
  | { readonly t: "log"; readonly lines: LogLines["lines"] }
  | { readonly t: "collect" }
  | { readonly t: "node-lost"; readonly why: string };

/** What the thread is given at its start. */
export interface ThreadData {
  readonly toThread: SharedArrayBuffer;
  readonly fromThread: SharedArrayBuffer;
  readonly bell: import("node:worker_threads").MessagePort;
  readonly apart: import("node:worker_threads").MessagePort;
  /** One word, which becomes 1 when the thread has said its last. */
  readonly left: SharedArrayBuffer;
  readonly processId: string;
  readonly jobId: string;
  /** By which it reaches other machines, if not as the process does. */
  readonly network?: string;
}
