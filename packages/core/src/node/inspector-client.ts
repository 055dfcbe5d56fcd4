/** Questions to the inspector of one process, each with a deadline. */
import { ConnectionLostError } from "../base/errors.ts";
import type { ChannelHandlers, InspectorChannel } from "./inspector-socket.ts";

interface Asked {
  resolve(answer: Buffer): void;
  reject(error: Error): void;
}

/** `{"id":7,"result":` … `}`; what the inspector tells by itself has no id. */
const ANSWER = /^\{"id":(\d+),"(result|error)":/;
const TOLD = /^\{"method":"([^"]+)"/;
const HEAD_BYTES = 80;
/** The process has run to its end, and waits for us to go. */
const ENDING = "NodeRuntime.waitingForDisconnect";

export class InspectorClient implements ChannelHandlers {
  private channel: InspectorChannel | undefined;
  private readonly asked = new Map<number, Asked>();
  private nextId = 1;
  private readonly ending = Promise.withResolvers<never>();
  /** What it tells by itself, as the whole message. */
  onTold: ((method: string, message: Buffer) => void) | undefined;

  constructor() {
    // Who waits for nothing else may not look.
    this.ending.promise.catch(() => {});
  }

  opened(channel: InspectorChannel): void {
    this.channel = channel;
  }

  /** Rejects when the process ends, or its inspector closes. */
  get ended(): Promise<never> {
    return this.ending.promise;
  }

  /** Whether what it says is to wait where it is. */
  hold(isHeld: boolean): void {
    this.channel?.hold?.(isHeld);
  }

  async evaluate(expression: string, timeoutMs: number): Promise<unknown> {
    const { result, exceptionDetails } = (await this.post(
      "Runtime.evaluate",
      { expression, returnByValue: true, silent: true },
      timeoutMs,
    )) as { result?: { value?: unknown }; exceptionDetails?: { text: string; exception?: { description?: string } } };
    if (!exceptionDetails) return result?.value;
    throw new ConnectionLostError(exceptionDetails.exception?.description ?? exceptionDetails.text);
  }

  async post(method: string, params: object, timeoutMs: number): Promise<unknown> {
    return JSON.parse((await this.postRaw(method, params, timeoutMs)).toString());
  }

  /** The JSON of the result: what may be large, and is only passed on, is not taken apart here. */
  postRaw(method: string, params: object, timeoutMs: number): Promise<Buffer> {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => settle(() => reject(new ConnectionLostError(`it did not answer within ${Math.round(timeoutMs)} ms`))),
        timeoutMs,
      );
      const settle = (end: () => void): void => {
        clearTimeout(timer);
        this.asked.delete(id);
        end();
      };
      this.asked.set(id, {
        resolve: (answer) => settle(() => resolve(answer)),
        reject: (error) => settle(() => reject(error)),
      });
      this.channel?.send(JSON.stringify({ id, method, params }));
    });
  }

  onMessage(text: Buffer): void {
    const beginning = text.toString("latin1", 0, HEAD_BYTES);
    const head = ANSWER.exec(beginning);
    if (!head) {
      const [, method = ""] = TOLD.exec(beginning) ?? [];
      if (method === ENDING) this.fail("the process ends");
      else this.onTold?.(method, text);
      return;
    }
    const [whole, id, kind] = head;
    const asked = this.asked.get(Number(id));
    const body = text.subarray(whole.length, text.length - 1);
    if (kind === "result") asked?.resolve(body);
    else asked?.reject(new ConnectionLostError(`its inspector refused: ${body.toString()}`));
  }

  onClose(): void {
    this.fail("its inspector was closed, or the process has ended");
  }

  private fail(why: string): void {
    const error = new ConnectionLostError(why);
    this.ending.reject(error);
    for (const { reject } of [...this.asked.values()]) reject(error);
  }
}
