/** Questions that are under way on one connection: each is answered once, or fails in time. */
import { ConnectionLostError, type ErrorKind, errorFromCode } from "../base/errors.ts";
import type { Peer } from "../transport/mod.ts";
import type { Answer } from "../wire/messages.ts";
import type { Queries } from "../wire/queries.ts";

export class Questions {
  private readonly asked = new Map<number, (answer: Omit<Answer, "t" | "id"> | Error) => void>();
  private nextId = 1;

  /** @throws ConnectionLostError when there is no answer in time; what it is answered with. */
  ask<M extends keyof Queries>(
    peer: Peer,
    method: M,
    params: Queries[M]["params"],
    { timeoutMs, who }: { readonly timeoutMs: number; readonly who: string },
  ): Promise<Queries[M]["result"]> {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      const settle = (answer: Omit<Answer, "t" | "id"> | Error): void => {
        clearTimeout(timer);
        this.asked.delete(id);
        if (answer instanceof Error) reject(answer);
        else if (answer.error)
          reject(errorFromCode(answer.error.code, answer.error.kind as ErrorKind, answer.error.message));
        else resolve(answer.result as never); // Of the method that was asked for.
      };
      const silent = new ConnectionLostError(`${who} did not answer within ${timeoutMs} ms`);
      const timer = setTimeout(() => settle(silent), timeoutMs);
      this.asked.set(id, settle);
      peer.send({ t: "query", id, method, params });
    });
  }

  answered(answer: Answer): void {
    this.asked.get(answer.id)?.(answer);
  }

  /** The connection is lost. */
  lost(why: string): void {
    const error = new ConnectionLostError(why);
    for (const settle of [...this.asked.values()]) settle(error);
  }
}
