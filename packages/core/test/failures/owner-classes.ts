/** An actor that owns tasks, for the tests of the deaths of owners. It is an export, so workers import this file. */
import { appendFileSync, existsSync } from "node:fs";
import { type ActorHandle, get, type ObjectRef, remote, runtimeContext } from "mobula";
import type { Gate } from "../actors/classes.ts";

export interface Job {
  readonly gate: ActorHandle<Gate>;
  /** Where each run of a task leaves a line. */
  readonly file: string;
}

/** Waits for the gate without keeping the thread. */
async function waiting({ gate, file }: Job): Promise<string> {
  appendFileSync(file, `run ${runtimeContext().attempt} in ${process.pid}\n`);
  try {
    await get(gate.pass.remote());
  } catch (error) {
    appendFileSync(file, "left\n");
    throw error;
  }
  return "it waited";
}

/** Leaves a line when its answer has long been written. */
async function answering(job: Job): Promise<string> {
  const value = await waiting(job);
  setTimeout(() => appendFileSync(job.file, "answered\n"), 200);
  return value;
}

/** Keeps the thread until the file `go` is there. */
function computing(file: string, go: string): string {
  appendFileSync(file, `run ${runtimeContext().attempt} in ${process.pid}\n`);
  const cell = new Int32Array(new SharedArrayBuffer(4));
  while (!existsSync(go)) Atomics.wait(cell, 0, 0, 5);
  return "it computed";
}

const shout = (text: string): string => `${text}!`;

const waits = remote(waiting);
const waitsOnce = remote(waiting, { maxRetries: 0 });
const computesOnce = remote(computing, { maxRetries: 0 });
const answersOnce = remote(answering, { maxRetries: 0 });
const shouts = remote(shout);

/** Submits a task, does not wait for it, and passes its ref on when it is asked for it. */
export class Owner {
  #task: ObjectRef<string> | undefined;

  pid(): number {
    return process.pid;
  }
  wait(job: Job): void {
    this.#task = waits.remote(job);
  }
  waitOnce(job: Job): void {
    this.#task = waitsOnce.remote(job);
  }
  answerOnce(job: Job): void {
    this.#task = answersOnce.remote(job);
  }
  compute(file: string, go: string): void {
    this.#task = computesOnce.remote(file, go);
  }
  /** Of a task and one that takes its result, only the latter is passed on. */
  chain(job: Job): void {
    this.#task = shouts.remote(waits.remote(job));
  }
  task(): { readonly task: ObjectRef<string> } {
    if (!this.#task) throw new Error("nothing was submitted");
    return { task: this.#task };
  }
  /** Its thread does not come back when the answer has left. */
  taskAndBlock(): { readonly task: ObjectRef<string> } {
    setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
    return this.task();
  }
}
