/**
 * One direction of a connection through the network. Bytes, and the end of the connection, go on in the order in which they
 * came, each after the delay of its link; while that is cut nothing goes on, and the source is not read.
 */
import type { Socket } from "node:net";

/** Of what is delayed so much is kept; then the source is not read until some of it has gone on. */
const KEPT_BYTES_MAX = 16 * 2 ** 20;

type Item = { readonly dueMs: number } & (
  | { readonly kind: "bytes"; readonly bytes: Buffer }
  | { readonly kind: "end" }
  | { readonly kind: "broken" }
);

export interface Weather {
  readonly isCut: boolean;
  readonly delayMs: number;
}

export class Flow {
  private readonly from: Socket;
  private readonly to: Socket;
  private readonly weather: () => Weather;
  private items: Item[] = [];
  private keptBytes = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, weather: () => Weather) {
    this.from = from;
    this.to = to;
    this.weather = weather;
    from.on("data", (bytes: Buffer) => {
      if (this.items.length === 0 && this.isClear) {
        if (!to.write(bytes)) from.pause();
        return;
      }
      this.keptBytes += bytes.length;
      this.later({ kind: "bytes", bytes });
    });
    from.on("end", () => this.later({ kind: "end" }));
    from.on("error", () => {}); // Its close follows.
    from.on("close", () => this.later({ kind: "broken" }));
    to.on("drain", () => this.changed());
    this.changed();
  }

  /** The weather has changed, or there is room. */
  changed(): void {
    this.pass();
    const mayRead = !this.weather().isCut && this.keptBytes < KEPT_BYTES_MAX && !this.to.writableNeedDrain;
    if (mayRead) this.from.resume();
    else this.from.pause();
  }

  private get isClear(): boolean {
    const { isCut, delayMs } = this.weather();
    return !isCut && delayMs === 0;
  }

  private later(what: Omit<Extract<Item, { kind: "bytes" }>, "dueMs"> | { kind: "end" } | { kind: "broken" }): void {
    this.items.push({ ...what, dueMs: performance.now() + this.weather().delayMs });
    this.changed();
  }

  private pass(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    while (!this.weather().isCut && !this.to.writableNeedDrain) {
      const [item] = this.items;
      if (!item) return;
      const waitMs = item.dueMs - performance.now();
      if (waitMs > 0) {
        this.timer = setTimeout(() => this.changed(), waitMs);
        return;
      }
      this.items.shift();
      if (item.kind === "bytes") {
        this.keptBytes -= item.bytes.length;
        this.to.write(item.bytes);
      } else if (item.kind === "end") this.to.end();
      // After its end was passed on nothing is broken.
      else if (this.from.errored || !this.from.readableEnded) this.to.destroy();
    }
  }
}
