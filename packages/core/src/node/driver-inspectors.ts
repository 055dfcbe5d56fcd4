/** The inspectors of drivers, each reached by the driver's I/O thread: see driver/inspector-tunnel.ts. */
import { ConnectionLostError } from "../base/errors.ts";
import type { ProcessId } from "../base/ids.ts";
import type { InspectorSaid, InspectorSay } from "../wire/messages.ts";
import { InspectorClient } from "./inspector-client.ts";
import type { OpenInspector } from "./worker-inspector.ts";

export class DriverInspectors {
  private readonly send: (to: ProcessId, message: InspectorSay) => void;
  private readonly clients = new Map<number, { readonly driver: ProcessId; readonly client: InspectorClient }>();
  private nextChannel = 1;

  constructor(send: (to: ProcessId, message: InspectorSay) => void) {
    this.send = send;
  }

  /** @throws ConnectionLostError when it does not answer. */
  async open(driver: ProcessId, timeoutMs: number): Promise<OpenInspector> {
    const channel = this.nextChannel++;
    const client = new InspectorClient();
    const say = (text: string | null): void => this.send(driver, { t: "inspector-say", channel, text });
    const release = (): void => {
      if (this.clients.delete(channel)) say(null);
    };
    client.opened({ send: say, close: release });
    this.clients.set(channel, { driver, client });
    try {
      await client.post("Runtime.getIsolateId", {}, timeoutMs);
    } catch (error) {
      release();
      throw error instanceof ConnectionLostError
        ? new ConnectionLostError(`its program's thread does not answer: ${error.message}`)
        : error;
    }
    return { client, release };
  }

  heard(from: ProcessId, { channel, text }: InspectorSaid): void {
    const known = this.clients.get(channel);
    if (known?.driver === from) known.client.onMessage(Buffer.from(text));
  }

  left(driver: ProcessId): void {
    for (const [channel, known] of this.clients) {
      if (known.driver !== driver) continue;
      this.clients.delete(channel);
      known.client.onClose();
    }
  }
}
