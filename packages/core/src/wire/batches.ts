/**
 * Messages that come by the thousand and are nearly equal leave as one: a `batch` says once what they have in common,
 * and for each only what is its own. The receiver takes it apart again, so nobody else knows of batches; actors of one
 * class then share the strings and options that their messages had in common.
 *
 * `{ t: "batch", of, shared, own: [field…, field…] }`, the own fields of all messages one after the other.
 */
import type { ActorCreate, ActorCreated, ActorStart, ActorState } from "./messages.ts";

/** More than a batch's worth is sent as several: neither side is to be busy with one for long. */
const MESSAGES_MAX = 512;
/** A message whose own part is larger than this travels alone. */
const OWN_BYTES_MAX = 4_096;

export interface Batch {
  readonly t: "batch";
  readonly of: string;
  readonly shared: object;
  readonly own: unknown[];
}

interface Kind {
  /** How many fields of each message are its own. */
  readonly fields: number;
  /** Whether the message can be part of a batch at all. */
  fits(message: object): boolean;
  /** Whether two have everything else in common. By identity where it is an object: senders keep what they repeat. */
  isAlike(first: object, next: object): boolean;
  shared(message: object): object;
  own(message: object): readonly unknown[];
  join(shared: object, own: readonly unknown[], at: number): object;
}

/** Ties the functions of a kind to one type of message; `t` has told that it is one. */
function kind<Message extends object, Shared extends object>(of: {
  readonly fields: number;
  readonly fits: (message: Message) => boolean;
  readonly isAlike: (first: Message, next: Message) => boolean;
  readonly shared: (message: Message) => Shared;
  readonly own: (message: Message) => readonly unknown[];
  readonly join: (shared: Shared, own: readonly never[], at: number) => Message;
}): Kind {
  return of as unknown as Kind;
}

const isSmall = (bytes: Uint8Array): boolean => bytes.length <= OWN_BYTES_MAX;
const isNone = (list: readonly unknown[] | undefined): boolean => list === undefined || list.length === 0;

const KINDS: Readonly<Record<string, Kind>> = {
  "actor-create": kind<ActorCreate, Pick<ActorCreate, "options" | "spec">>({
    fields: 2,
    fits: ({ spec: { args, deps, nested, keeps } }) => isSmall(args) && isNone(deps) && isNone(nested) && isNone(keeps),
    isAlike: (first, next) => first.options === next.options && isSameClass(first.spec, next.spec),
    shared: ({ options, spec }) => ({ options, spec: { ...spec, args: NO_BYTES } }),
    own: ({ actorId, spec: { args } }) => [actorId, args],
    join: ({ options, spec }, own, at) => ({
      t: "actor-create",
      actorId: own[at] as never,
      options,
      spec: { ...spec, args: own[at + 1] as never },
    }),
  }),

  "actor-start": kind<ActorStart, Omit<ActorStart, "t" | "actorId" | "incarnation">>({
    fields: 3,
    fits: ({ name, bundle, spec: { args, deps, nested } }) =>
      name === undefined && bundle === undefined && isSmall(args) && isNone(deps) && isNone(nested),
    isAlike: (first, next) =>
      first.jobId === next.jobId &&
      first.namespace === next.namespace &&
      first.resources === next.resources &&
      isNone(first.gpus) &&
      isNone(next.gpus) &&
      isSameClass(first.spec, next.spec),
    shared: ({ jobId, namespace, resources, gpus, spec }) => ({
      jobId,
      namespace,
      resources,
      gpus,
      spec: { ...spec, args: NO_BYTES },
    }),
    own: ({ actorId, incarnation, spec: { args } }) => [actorId, incarnation, args],
    join: (shared, own, at) => ({
      t: "actor-start",
      actorId: own[at] as never,
      incarnation: own[at + 1] as never,
      jobId: shared.jobId,
      namespace: shared.namespace,
      resources: shared.resources,
      gpus: shared.gpus,
      spec: { ...shared.spec, args: own[at + 2] as never },
    }),
  }),

  "actor-created": kind<ActorCreated, object>({
    fields: 2,
    fits: ({ error }) => error === undefined,
    isAlike: () => true,
    shared: () => ({}),
    own: ({ actorId, incarnation }) => [actorId, incarnation],
    join: (_shared, own, at) => ({
      t: "actor-created",
      actorId: own[at] as never,
      incarnation: own[at + 1] as never,
    }),
  }),

  "actor-state": kind<ActorState, Pick<ActorState, "state" | "className" | "worker">>({
    fields: 2,
    fits: ({ sameAs, cause }) => sameAs === undefined && cause === undefined,
    isAlike: (first, next) =>
      first.state === next.state && first.className === next.className && first.worker === next.worker,
    shared: ({ state, className, worker }) => ({ state, className, ...(worker && { worker }) }),
    own: ({ actorId, incarnation }) => [actorId, incarnation],
    join: ({ state, className, worker }, own, at) => ({
      t: "actor-state",
      actorId: own[at] as never,
      state,
      incarnation: own[at + 1] as never,
      className,
      ...(worker && { worker }),
    }),
  }),
};

const NO_BYTES = new Uint8Array(0);

/** The code comes with the first of a class, which travels alone. */
function isSameClass(
  first: { readonly codeKey: string; readonly className: string; readonly code: Uint8Array },
  next: typeof first,
): boolean {
  return (
    first.codeKey === next.codeKey &&
    first.className === next.className &&
    first.code.length === 0 &&
    next.code.length === 0
  );
}

type Message = object & { readonly t?: string };

/** Messages of one sender on their way out: holds back the last one, as long as those that follow may join it. */
export class Batcher {
  private kind: Kind | undefined;
  private first: Message | undefined;
  private own: unknown[] = [];
  private count = 0;
  private readonly write: (message: object) => void;

  constructor(write: (message: object) => void) {
    this.write = write;
  }

  get isEmpty(): boolean {
    return this.first === undefined;
  }

  send(message: Message): void {
    const { first, kind } = this;
    if (first && kind && first.t === message.t && kind.fits(message) && kind.isAlike(first, message)) {
      if (this.count === 1) this.own = [...kind.own(first)];
      this.own.push(...kind.own(message));
      if (++this.count === MESSAGES_MAX) this.flush();
      return;
    }
    this.flush();
    const next = KINDS[message.t ?? ""];
    if (next?.fits(message)) {
      this.kind = next;
      this.first = message;
      this.count = 1;
    } else this.write(message);
  }

  flush(): void {
    const { first, kind, own, count } = this;
    if (!first || !kind) return;
    this.first = undefined;
    this.own = [];
    if (count === 1) this.write(first);
    else this.write({ t: "batch", of: first.t ?? "", shared: kind.shared(first), own } satisfies Batch);
  }
}

/** The messages of a batch, one after the other; those of a kind that is not known here are nobody's. */
export function unbatch({ of, shared, own }: Batch, handle: (message: { readonly t: string }) => void): void {
  const kind = KINDS[of];
  if (!kind) return;
  for (let at = 0; at < own.length; at += kind.fields) handle(kind.join(shared, own, at) as { t: string });
}
