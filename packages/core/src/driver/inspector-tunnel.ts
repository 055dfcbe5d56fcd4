/**
 * Between the node and the inspector of the program's thread. The I/O thread reaches that within the process, also while
 * the program computes: no port is opened, and nothing is printed, as a signal would have Node.js do.
 */
import { type InspectorNotification, Session } from "node:inspector";
import type { InspectorSaid, InspectorSay } from "../wire/mod.ts";

/** A message between processes may not be longer than 64 MiB, and a character may take three bytes. */
const TEXT_LENGTH_MAX = 20 * 2 ** 20;

interface Request {
  readonly id: number;
  readonly method: string;
  readonly params?: object;
}

interface Answered {
  readonly id: number;
  readonly result?: object | undefined;
  readonly error?: object;
}

export class InspectorTunnel {
  private readonly say: (message: InspectorSaid) => void;
  private readonly sessions = new Map<number, Session>();

  constructor(say: (message: InspectorSaid) => void) {
    this.say = say;
  }

  heard({ channel, text }: Omit<InspectorSay, "t">): void {
    if (text === null) {
      this.sessions.get(channel)?.disconnect();
      this.sessions.delete(channel);
      return;
    }
    const session = this.sessions.get(channel) ?? this.open(channel);
    const { id, method, params } = JSON.parse(text) as Request; // The node writes it, see node/inspector-client.ts.
    session.post(method, params, (error, result) => this.answer(channel, error ? { id, error } : { id, result }));
  }

  /** The node is gone, and with it who asked. */
  close(): void {
    for (const session of this.sessions.values()) session.disconnect();
    this.sessions.clear();
  }

  private open(channel: number): Session {
    const session = new Session();
    session.connectToMainThread();
    session.on("inspectorNotification", (told: InspectorNotification<object>) => this.told(channel, told));
    this.sessions.set(channel, session);
    return session;
  }

  /** Pieces of a heap snapshot, and how far it is: nothing else was asked for. */
  private told(channel: number, { method, params }: InspectorNotification<object>): void {
    if (this.sessions.has(channel) && method.startsWith("HeapProfiler."))
      this.say({ t: "inspector-said", channel, text: JSON.stringify({ method, params }) });
  }

  private answer(channel: number, answer: Answered): void {
    if (!this.sessions.has(channel)) return;
    const text = JSON.stringify(answer);
    const { id } = answer;
    const error = { code: -32000, message: `the answer has ${text.length} characters, more than may be sent` };
    this.say({
      t: "inspector-said",
      channel,
      text: text.length > TEXT_LENGTH_MAX ? JSON.stringify({ id, error }) : text,
    });
  }
}
