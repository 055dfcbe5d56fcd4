/**
 * What a node keeps of the tasks of an owner that lives: copies of those that make refs which others may have and that have
 * no value yet. When the owner dies, the engine that stands in for it takes them on: see inheritance.ts.
 */
import { objectKeySeq, type ProcessId, type Seq } from "../base/ids.ts";
import type { HandedTask, HandedTemplate, ObjectCancel, ObjectPublish, TaskCopy, TaskHandover } from "../wire/mod.ts";
import type { OwnerEffects } from "./effects.ts";
import type { OwnerEngine } from "./engine.ts";
import { adopt } from "./handover.ts";
import type { InheritedLease } from "./inheritance.ts";

export class Copies {
  private readonly engine: OwnerEngine;
  private readonly effects: Pick<OwnerEffects, "toNode">;
  private readonly ids: { readonly self: ProcessId; readonly giver: ProcessId };
  /** By the returns that have escaped. */
  private readonly tasks = new Map<Seq, HandedTask>();
  /** What the owner was told to cancel; it may be dead already. */
  private readonly cancels = new Map<Seq, ObjectCancel>();
  /** Functions that the owner will not name again, while copies may be of them. */
  private dropped: number[] = [];

  constructor(engine: OwnerEngine, effects: Copies["effects"], ids: Copies["ids"]) {
    this.engine = engine;
    this.effects = effects;
    this.ids = ids;
  }

  add({ templates, tasks, escaped }: TaskCopy): void {
    adopt(this.engine, this.effects, this.ids, { templates, tasks: [] });
    this.brought(templates);
    for (const [index, task] of tasks.entries()) this.tasks.set(escaped[index] ?? task.seq, task);
  }

  get isEmpty(): boolean {
    return this.tasks.size === 0;
  }

  /** The owner says what some of them have come to. */
  published(objects: ObjectPublish["objects"]): void {
    for (const { key, value } of objects) if (value) this.tasks.delete(objectKeySeq(key));
    this.forget();
  }

  handedOver({ templates, tasks }: Pick<TaskHandover, "templates" | "tasks">): void {
    if (this.isEmpty) return;
    this.brought(templates);
    const seqs = new Set(tasks.map(({ seq }) => seq));
    for (const [escaped, { seq }] of this.tasks) if (seqs.has(seq)) this.tasks.delete(escaped);
    this.forget();
  }

  cancelling(order: ObjectCancel): void {
    if (!this.isEmpty) this.cancels.set(objectKeySeq(order.key), order);
  }

  dropTemplates(ids: readonly number[]): void {
    this.dropped.push(...ids);
    this.forget();
  }

  /** Functions that come again are not dropped for what was said before: the owner will say so again. */
  private brought(templates: readonly HandedTemplate[]): void {
    if (this.dropped.length === 0) return;
    const ids = new Set(templates.map(({ id }) => id));
    this.dropped = this.dropped.filter((id) => !ids.has(id));
  }

  private forget(): void {
    if (!this.isEmpty) return;
    this.cancels.clear();
    for (const id of this.dropped.splice(0)) this.engine.tasks.unregister(id);
  }

  /**
   * The owner is dead; its holds are still there. The number of tasks that are taken on.
   *
   * @param inheritLeases makes the leases that it had this engine's.
   */
  succeed(inheritLeases: () => readonly InheritedLease[]): number {
    const bySeq = new Map([...this.tasks.values()].map((task) => [task.seq, task]));
    // Arguments before those that take them.
    const tasks = [...bySeq.values()].sort((a, b) => a.seq - b.seq);
    if (tasks.length === 0) return 0;
    this.tasks.clear();
    const { engine } = this;
    const adopted = adopt(engine, this.effects, this.ids, { templates: [], tasks }, true);
    for (const [seq, { force, isRecursive }] of this.cancels) engine.cancel(seq, force, isRecursive);
    engine.inheritance.begin(adopted, inheritLeases());
    this.forget();
    return tasks.length;
  }
}
