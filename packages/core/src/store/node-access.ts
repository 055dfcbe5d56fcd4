/** The node's own use of its store: it writes copies of what lies on other nodes, and reads for nodes that copy from here. */
import { assert, errorFromCode, type ProcessId } from "../base/mod.ts";
import type { StoreKey, StorePinned } from "../wire/messages.ts";
import { KEYS_PER_CLIENT } from "./engine.ts";
import type { RequestId, StoreCommand, StoreEvent } from "./engine-events.ts";
import { roundUpToPages } from "./memory.ts";

/** Where the bytes of an object are: in memory that may be read or written in place, or in a file. */
export type Place = { readonly memory: Uint8Array } | { readonly fd: number; readonly position: number };

/** For an object that the node writes; one of the two must be called. */
export interface Room {
  readonly place: Place;
  /**
   * It is pinned until `unpin` is called: those who have waited for it pin it before.
   *
   * @param isCopy it may go for the sake of its memory while nobody has it pinned.
   */
  seal(owner: ProcessId, isCopy: boolean): { readonly key: StoreKey; unpin(): void };
  abandon(): void;
}

export interface OpenObject {
  readonly size: number;
  readonly place: Place;
  /** Nothing is read any more. */
  close(): void;
}

export interface NodeAccessOptions {
  readonly self: ProcessId;
  readonly clientNumber: number;
  /** Where a range is, of the arena or past it. */
  placeAt(offset: number, bytes: number): Place;
  /** A file of spilled objects, to read from this position on. */
  openFile(path: string, position: number): { readonly place: Place; close(): void };
  step(event: StoreEvent): void;
  /** A number for a request; its answer goes to {@link NodeAccess.answered}. */
  request(answered: (answer: GrantAnswer) => void): RequestId;
}

export type GrantAnswer = StoreCommand & { readonly kind: "grant" | "refuse" };

export class NodeAccess {
  private readonly options: NodeAccessOptions;
  private nextKey: StoreKey;
  private isConnected = false;
  private readonly opening = new Map<StoreKey, ((pinned: Omit<StorePinned, "name">) => void)[]>();

  constructor(options: NodeAccessOptions) {
    this.options = options;
    this.nextKey = options.clientNumber * KEYS_PER_CLIENT;
  }

  async makeRoom(bytes: number, callSite: string): Promise<Room> {
    const { self: processId, step, request } = this.options;
    if (!this.isConnected) {
      this.isConnected = true;
      step({ kind: "client-connected", processId, clientNumber: this.options.clientNumber });
    }
    const answer = await new Promise<GrantAnswer>((resolve) => {
      const requestId = request(resolve);
      step({ kind: "allocate-requested", requestId, processId, bytes, wishBytes: bytes, callSite });
    });
    if (answer.kind === "refuse") throw errorFromCode(answer.error.code, answer.error.kind, answer.error.message);
    const { offset } = answer;
    const place = this.options.placeAt(offset, bytes);
    let isOpen = true;
    return {
      place,
      seal: (owner, isCopy) => {
        assert(isOpen, "an object that was sealed or abandoned is sealed");
        isOpen = false;
        const key = this.nextKey++;
        // What was granted beyond its pages goes back: an object has no more than it needs.
        const rest = roundUpToPages(bytes);
        if (answer.bytes > rest) {
          step({ kind: "given-back", processId, offset: offset + rest, bytes: answer.bytes - rest });
        }
        // What the node keeps for itself has come from another one.
        const isForeign = owner === processId;
        step({ kind: "sealed", processId, key, offset, bytes, callSite, pinned: true, owner, isCopy, isForeign });
        return { key, unpin: () => step({ kind: "unpinned", processId, keys: [key] }) };
      },
      abandon: () => {
        if (!isOpen) return;
        isOpen = false;
        step({ kind: "given-back", processId, offset, bytes: answer.bytes });
      },
    };
  }

  async open(key: StoreKey): Promise<OpenObject> {
    const { self: processId, step, placeAt, openFile } = this.options;
    const pinned = await new Promise<Omit<StorePinned, "name">>((resolve) => {
      const waiting = this.opening.get(key);
      if (waiting) waiting.push(resolve);
      else this.opening.set(key, [resolve]);
      step({ kind: "pin-requested", processId, keys: [key] });
    });
    const { error, file, offset, size } = pinned;
    if (error) throw errorFromCode(error.code, error.kind, error.message);
    let isOpen = true;
    const unpin = (): void => {
      if (isOpen) step({ kind: "unpinned", processId, keys: [key] });
      isOpen = false;
    };
    if (file === undefined) return { size, place: placeAt(offset, size), close: unpin };
    try {
      const opened = openFile(file, offset);
      return {
        size,
        place: opened.place,
        close: () => {
          if (isOpen) opened.close();
          unpin();
        },
      };
    } catch (error) {
      unpin();
      throw errorFromCode(
        "OBJECT_LOST",
        "lost",
        `the copy on disk of a stored object cannot be read: ${String(error)}`,
      );
    }
  }

  /** True when the pin was for the node itself. */
  pinned(processId: ProcessId, pinned: Omit<StorePinned, "name">): boolean {
    if (processId !== this.options.self) return false;
    const waiting = this.opening.get(pinned.key);
    const first = waiting?.shift();
    if (waiting?.length === 0) this.opening.delete(pinned.key);
    first?.(pinned);
    return true;
  }
}
