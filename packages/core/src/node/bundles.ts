/** What placement groups have of this node: between its lease engine and whoever hosts the group engine. */
import type { SchedulerCommand, SchedulerEvent } from "../scheduler/mod.ts";
import type { BundlesAnswer, BundlesOrder } from "../wire/cluster-messages.ts";

type AnswerCommand = Extract<SchedulerCommand, { readonly kind: BundlesAnswer["t"] }>;

export function eventOf({ t: kind, ...order }: BundlesOrder): SchedulerEvent {
  return { kind, ...order } as SchedulerEvent; // They differ in the name of the kind only.
}

export function answerOf({ kind: t, ...answer }: AnswerCommand): BundlesAnswer {
  return { t, ...answer } as BundlesAnswer;
}

/** Answers to control, gathered over what arrives at once. */
export class BundleAnswers {
  private readonly say: (answer: BundlesAnswer) => void;
  private readonly report: () => void;
  private gathered: BundlesAnswer[] = [];

  constructor(effects: { say(answer: BundlesAnswer): void; report(): void }) {
    this.say = effects.say;
    this.report = effects.report;
  }

  add(answer: BundlesAnswer): void {
    if (this.gathered.length === 0) queueMicrotask(() => this.flush());
    this.gathered.push(answer);
  }

  private flush(): void {
    const answers = this.gathered;
    this.gathered = [];
    // Whoever hears that something is returned may want it at once: it is to be seen in the view.
    if (answers.some(({ t }) => t === "bundles-returned")) this.report();
    for (const answer of answers) this.say(answer);
    // What is taken counts as held until it is heard that it is, and then by what the node says next.
    if (answers.some(({ t }) => t === "bundles-prepared" || t === "bundles-committed")) this.report();
  }
}

const ANSWERS: ReadonlySet<string> = new Set<BundlesAnswer["t"]>([
  "bundles-prepared",
  "bundles-refused",
  "bundles-committed",
  "bundles-returned",
  "bundles-reported",
  "earmark-answered",
]);
export const isAboutBundles = (command: SchedulerCommand): command is AnswerCommand => ANSWERS.has(command.kind);

const ORDERS: ReadonlySet<string> = new Set<BundlesOrder["t"]>([
  "prepare-bundles",
  "commit-bundles",
  "return-bundles",
  "earmark",
  "clear-earmark",
]);
export const isBundlesOrder = (message: { readonly t: string }): message is BundlesOrder => ORDERS.has(message.t);
