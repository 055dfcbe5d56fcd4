/** Objects of this node as others read them: whole, or as far as they have come. */
import type { OpenObject, Room } from "../store/mod.ts";
import type { Reading } from "./bulk-server.ts";

export class WholeReading implements Reading {
  readonly size: number;
  readonly place: Reading["place"];
  whenFailed: (() => void) | undefined;
  private readonly object: OpenObject;

  constructor(object: OpenObject) {
    this.object = object;
    this.size = object.size;
    this.place = object.place;
  }

  availableFrom(): number {
    return this.size;
  }

  more(): Promise<void> {
    return Promise.reject(new Error("there is no more of it"));
  }

  close(): void {
    this.object.close();
  }
}

/** What has come so far of an object that is on its way. */
export class PartialReading implements Reading {
  readonly size: number;
  readonly place: Reading["place"];
  whenFailed: (() => void) | undefined;
  private readonly received: (at: number) => number;
  private readonly onClosed: () => void;
  private waiting: { resolve(): void; reject(error: Error): void } | undefined;
  private failure: Error | undefined;
  private whole: Promise<OpenObject> | undefined;

  constructor(size: number, { place }: Room, received: (at: number) => number, onClosed: () => void) {
    this.size = size;
    this.place = place;
    this.received = received;
    this.onClosed = onClosed;
  }

  availableFrom(at: number): number {
    return this.failure ? at : this.received(at);
  }

  more(): Promise<void> {
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
    });
  }

  grew(): void {
    this.waiting?.resolve();
    this.waiting = undefined;
  }

  /** All of it is there, and is read on a pin of its own from now on. */
  sealed(object: Promise<OpenObject>): void {
    this.whole = object;
    object.catch((error) => this.failed(error as Error));
    this.grew();
  }

  /** Its memory is somebody else's in a moment. */
  failed(error: Error): void {
    this.failure = error;
    this.whenFailed?.();
    this.waiting?.reject(error);
    this.waiting = undefined;
  }

  close(): void {
    this.onClosed();
    void this.whole?.then(
      (object) => object.close(),
      () => {}, // It has failed, which was said.
    );
  }
}
