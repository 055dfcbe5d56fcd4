/** What tasks are made from: functions with their options, the refs that they captured, and which workers know them. */
import type { ObjectKey } from "../base/ids.ts";
import { TEMPLATE_FLAGS, TO_WORKER, writeKeys } from "../wire/mod.ts";
import type { LeaseTable } from "./leases.ts";
import { nearTo, nodeOfArguments } from "./locality.ts";
import type { ObjectTable } from "./objects.ts";
import type { Registered, TaskRecord, Template, WorkerLink } from "./records.ts";

export interface TemplatesOptions {
  readonly objects: ObjectTable;
  readonly leases: LeaseTable;
  /** The worker may ask for these, and holds them. */
  grant(keys: readonly ObjectKey[], link: WorkerLink): void;
}

export class Templates {
  private readonly options: TemplatesOptions;
  private readonly byId = new Map<number, Registered>();
  private readonly costs = new Map<string, { micros: number; runs: number }>();

  constructor(options: TemplatesOptions) {
    this.options = options;
  }

  register(template: Template): void {
    const { objects, leases } = this.options;
    // A copy of a task and what is handed over may both bring it.
    if (this.byId.has(template.id)) return;
    let cost = this.costs.get(template.name);
    if (!cost) {
      cost = { micros: Number.NaN, runs: 0 };
      this.costs.set(template.name, cost);
    }
    const shape = leases.shapeOf(template.demand);
    shape.templates++;
    const use = {
      captured: objects.useNested(template.nested),
      links: new Set<WorkerLink>(),
      tasks: 0,
      isDropped: false,
    };
    this.byId.set(template.id, { template, shape, cost, use, near: new Map() });
  }

  get(id: number): Registered | undefined {
    return this.byId.get(id);
  }

  /** No call will name it again; those under way keep what they need. */
  unregister(id: number): void {
    const registered = this.byId.get(id);
    if (!registered) return;
    this.byId.delete(id);
    this.leaveShapes(registered);
    registered.use.isDropped = true;
    this.letGoOfDropped(registered);
  }

  private leaveShapes(registered: Registered): void {
    for (const { shape } of new Set([registered, ...registered.near.values()])) this.options.leases.templateLeft(shape);
  }

  /** A task of it has come. */
  taken({ use }: Registered): void {
    use.tasks++;
  }

  /** One has gone, and will not be run again. */
  left(registered: Registered): void {
    registered.use.tasks--;
    this.letGoOfDropped(registered);
  }

  /** Workers forget it, and what it has captured is held no more. */
  private letGoOfDropped({ template, use }: Registered): void {
    if (!use.isDropped || use.tasks > 0) return;
    this.options.objects.holds.drop(use.captured);
    for (const link of use.links) {
      if (link.isBroken) continue;
      link.knownTemplates.delete(template.id);
      link.out.begin();
      link.out.array(2);
      link.out.uint(TO_WORKER.forgetTemplate);
      link.out.uint(template.id);
      link.out.end();
      link.schedule();
    }
    use.links.clear();
  }

  onLinkClosed(link: WorkerLink): void {
    for (const id of link.knownTemplates) this.byId.get(id)?.use.links.delete(link);
  }

  /** With the queue for where the task's large arguments lie. */
  nearest(task: TaskRecord, registered: Registered): Registered {
    const { objects, leases } = this.options;
    const { near, template } = registered;
    // Where it is to run is said already.
    const tag = template.demand.placement ? undefined : nodeOfArguments(task.deps, objects.here);
    if (tag === undefined) return near.get(objects.here) ?? registered;
    let there = near.get(tag);
    if (!there) {
      if (!near.has(objects.here)) near.set(objects.here, registered);
      there = { ...registered, shape: leases.shapeOf(nearTo(template.demand, tag)) };
      // Of a template that is gone, a task is made again.
      if (this.byId.has(template.id)) there.shape.templates++;
      near.set(tag, there);
    }
    return there;
  }

  /** The worker knows it from now on. */
  introduce({ template, use }: Registered, link: WorkerLink): void {
    if (link.knownTemplates.has(template.id)) return;
    link.knownTemplates.add(template.id);
    use.links.add(link);
    if (use.captured.length > 0) this.options.grant(use.captured, link);
    const { out } = link;
    out.begin();
    out.array(9);
    out.uint(TO_WORKER.template);
    out.uint(template.id);
    out.string(template.name);
    out.string(template.language);
    out.bin(template.code);
    out.uint(template.numReturns);
    const isPrompt = template.timeoutMs > 0 || template.maxRetries === 0;
    out.uint((template.isStream ? TEMPLATE_FLAGS.stream : 0) | (isPrompt ? TEMPLATE_FLAGS.prompt : 0));
    out.uint(template.streamBufferItems);
    writeKeys(out, use.captured);
    out.end();
  }
}
