/** The owner engine on the program's own thread: in workers and inline. */
import type { ActorId, ProcessId, Seq } from "../base/ids.ts";
import type { PutTally } from "../events/mod.ts";
import type {
  ActorCreation,
  ExpectedValue,
  MethodTemplate,
  NestedRef,
  OwnerRuntime,
  ProgramEffects,
  ProgramValue,
  Template,
} from "../owner/mod.ts";
import type { Explanation, ToNode } from "../wire/mod.ts";
import { currentExecution } from "./execution.ts";
import type { OwnerPort } from "./port.ts";

export class DirectPort implements OwnerPort {
  private readonly runtime: OwnerRuntime;

  constructor(runtime: OwnerRuntime) {
    this.runtime = runtime;
  }

  get program(): ProgramEffects | undefined {
    return this.runtime.program;
  }

  set program(program: ProgramEffects | undefined) {
    this.runtime.program = program;
  }

  get endedCount(): number {
    return this.runtime.engine.tasks.endedCount;
  }

  template(template: Template): void {
    this.runtime.engine.tasks.register(template);
  }

  dropTemplate(id: number): void {
    this.runtime.engine.tasks.unregister(id);
  }

  method(method: MethodTemplate): void {
    this.runtime.engine.actors.registerMethod(method);
  }

  submit(seq: Seq, template: number, args: Uint8Array, deps: readonly Seq[], nested: readonly NestedRef[]): void {
    this.runtime.enter().tasks.submit(seq, template, args, deps, nested, currentExecution()?.origin);
    this.runtime.schedule();
  }

  call(
    seq: Seq,
    actor: number,
    method: number,
    args: Uint8Array,
    deps: readonly Seq[],
    nested: readonly NestedRef[],
  ): void {
    this.runtime.enter().actors.call(seq, actor, method, args, deps, nested, currentExecution()?.origin);
    this.runtime.schedule();
  }

  createActor(creation: ActorCreation): void {
    this.runtime.enter().actors.create(creation, currentExecution()?.origin);
    this.runtime.schedule();
  }

  borrowActor(num: number, actorId: ActorId, className: string, concurrency: number, isGranted: boolean): void {
    const { actors } = this.runtime.engine;
    actors.borrow(num, actorId, className, concurrency);
    if (isGranted) actors.received(actorId);
  }

  releaseActor(num: number): void {
    this.runtime.enter().actors.release(num);
    this.runtime.schedule();
  }

  put(seq: Seq, value: ProgramValue): void {
    this.runtime.enter().objects.put(seq, value);
    this.runtime.schedule();
  }

  putsSeen(tallies: readonly PutTally[]): void {
    this.runtime.putsSeen(tallies);
  }

  expect(seq: Seq, value: ExpectedValue): void {
    this.runtime.expect(seq, value);
    this.runtime.schedule();
  }

  borrow(seq: Seq, owner: ProcessId, ownerSeq: Seq): void {
    this.runtime.engine.objects.borrow(seq, owner, ownerSeq);
  }

  retain(seq: Seq): void {
    this.runtime.engine.objects.retain(seq);
  }

  releaseCollected(seq: Seq): void {
    this.release(seq);
  }

  release(seq: Seq): void {
    this.runtime.enter().objects.release(seq);
    this.runtime.schedule();
  }

  want(seqs: readonly Seq[]): void {
    const { objects } = this.runtime.enter();
    for (const seq of seqs) objects.want(seq);
    this.runtime.schedule();
  }

  wantRun(first: Seq, count: number): void {
    const { objects } = this.runtime.enter();
    for (let seq = first as number; seq < first + count; seq++) objects.want(seq as Seq);
    this.runtime.schedule();
  }

  unwant(seqs: readonly Seq[]): void {
    for (const seq of seqs) this.runtime.engine.objects.unwant(seq);
  }

  watch(seqs: readonly Seq[]): void {
    const { objects } = this.runtime.enter();
    for (const seq of seqs) objects.watch(seq);
    this.runtime.schedule();
  }

  unpin(keys: readonly number[]): void {
    this.runtime.toNode({ t: "store-unpin", keys });
  }

  consumed(stream: Seq, count: number): void {
    this.runtime.enter().consumed(stream, count);
    this.runtime.schedule();
  }

  abandonStream(stream: Seq): void {
    this.runtime.enter().abandonStream(stream);
    this.runtime.schedule();
  }

  cancel(seq: Seq, force: boolean, isRecursive: boolean): void {
    this.runtime.cancel(seq, force, isRecursive);
    this.runtime.schedule();
  }

  toNode(message: ToNode): void {
    this.runtime.toNode(message);
  }

  query(method: string, params: unknown): Promise<unknown> {
    return this.runtime.query(method, params);
  }

  explain(target: { readonly seq: Seq } | { readonly actor: number }): Promise<Explanation> {
    return this.runtime.explain(target);
  }

  awaiting(): void {
    // The connection to the node keeps a worker alive as long as that lives.
  }

  flush(): void {
    this.runtime.flushNow();
  }
}
