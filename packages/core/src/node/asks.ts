/** Questions between nodes, and between a node and control: each is answered once, or fails within a few seconds. */
import { type Clock, machineClock } from "../base/clock.ts";
import { ConnectionLostError, type ErrorKind, errorFromCode, isError, type MobulaError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { Answer, Query } from "../wire/messages.ts";
import type { Queries } from "../wire/queries.ts";

const ANSWER_MS = 2_000;

export class Asks {
  private readonly send: (to: NodeId, message: Query) => void;
  private readonly asked = new Map<number, { readonly to: NodeId; settle(answer: Omit<Answer, "t" | "id">): void }>();
  private readonly clock: Clock;
  private nextId = 1;

  constructor(send: (to: NodeId, message: Query) => void, clock: Clock = machineClock) {
    this.send = send;
    this.clock = clock;
  }

  /** @throws ConnectionLostError when no answer comes; what it is answered with. */
  ask<M extends keyof Queries>(to: NodeId, method: M, params: Queries[M]["params"]): Promise<Queries[M]["result"]> {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      const takeBack = this.clock.later(ANSWER_MS, () => settle({ error: lost(to) }));
      const settle = ({ result, error }: Omit<Answer, "t" | "id">): void => {
        takeBack();
        this.asked.delete(id);
        if (error) reject(errorFromCode(error.code, error.kind as ErrorKind, error.message));
        else resolve(result as Queries[M]["result"]);
      };
      this.asked.set(id, { to, settle });
      this.send(to, { t: "query", id, method, params });
    });
  }

  answered(from: NodeId, { id, result, error }: Answer): void {
    const asked = this.asked.get(id);
    if (asked?.to === from) asked.settle(error ? { error } : { result });
  }

  nodeDied(node: NodeId): void {
    for (const { to, settle } of [...this.asked.values()]) if (to === node) settle({ error: lost(node) });
  }
}

const lost = (node: NodeId): NonNullable<Answer["error"]> => {
  const { code, kind, message } = new ConnectionLostError(`node ${node} did not answer`);
  return { code, kind, message };
};

/** An answer to {@link Query}; a failed question is an answer too. */
export async function answerTo(id: number, result: () => unknown): Promise<Answer> {
  try {
    return { t: "answer", id, result: await result() };
  } catch (error) {
    const { message } = error as Error;
    const known = error instanceof Error && isError(error, (error as MobulaError).code ?? "");
    const { code, kind } = known ? (error as MobulaError) : ({ code: "INTERNAL", kind: "internal" } as const);
    return { t: "answer", id, error: { code, kind, message } };
  }
}
