/**
 * What V8 thinks of views, where they are Node-API's (view-buffer.ts has better ones). It charges the length of every
 * ArrayBuffer from outside to its heap, dead ones until they are collected, and begins a collection with each 64 MiB
 * that have come since the last: a process that gets one large object after the other collects once for each, for
 * memory that is not its own and that the store looks after anyway (gc-pressure.ts). V8 can weigh such bytes against its
 * whole limit instead, which it does by itself from 14.8 on.
 *
 * It is told so while large views live. Meanwhile memory outside the heap that is not the store's (of native packages)
 * is watched here, because under a worker's high limit V8 would let much of it gather.
 */
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { majorCollector } from "./gc-pressure.ts";
import { areViewsCharged } from "./view-buffer.ts";

/** Views of fewer bytes than this cause no collection that would not come anyway. */
export const RELAX_BYTES_MIN = 32 * 2 ** 20;
/** How much other memory outside the heap may come before a collection looks for dead parts of it. */
export const OTHERS_GROWTH_BYTES_MAX = 256 * 2 ** 20;
const CHECK_MS = 100;
const FLAG = "external-memory-accounted-in-global-limit";

interface ViewChargeOptions {
  /** Whether it does charge them. */
  readonly areCharged?: () => boolean;
  /** All bytes outside the heap that V8 knows of; default V8's own count. */
  readonly externalBytes?: () => number;
  readonly collect?: () => void;
  readonly setFlag?: (flag: string) => void;
}

interface ViewCharge {
  /** Bytes of views are about to be made (positive), or have been collected. */
  changed(bytes: number): void;
  /** Looks after memory that is not of views; a timer calls it while there are large views. */
  check(): void;
  close(): void;
}

/** For processes whose heap limit is far above what they may use. */
export function createViewCharge(options: ViewChargeOptions = {}): ViewCharge {
  const areCharged = options.areCharged ?? areViewsCharged;
  const externalBytes = options.externalBytes ?? (() => getHeapStatistics().external_memory);
  const collect = options.collect ?? (() => majorCollector()());
  const setFlag = options.setFlag ?? setFlagsFromString;
  let viewBytes = 0;
  /** The least that others had since the last look for dead parts. */
  let floorBytes = 0;
  let timer: NodeJS.Timeout | undefined;

  const otherBytes = (): number => Math.max(0, externalBytes() - viewBytes);

  function relax(): void {
    setFlag(`--${FLAG}`);
    timer = setInterval(check, CHECK_MS);
    timer.unref();
  }

  function restore(): void {
    clearInterval(timer);
    timer = undefined;
    setFlag(`--no-${FLAG}`);
  }

  function check(): void {
    if (!timer) return;
    if (viewBytes < RELAX_BYTES_MIN) {
      restore();
      return;
    }
    floorBytes = Math.min(floorBytes, otherBytes());
    if (otherBytes() - floorBytes <= OTHERS_GROWTH_BYTES_MAX) return;
    collect();
    floorBytes = otherBytes();
  }

  return {
    changed(bytes) {
      const isLarge = viewBytes + bytes >= RELAX_BYTES_MIN;
      if (!timer && isLarge && canRelax && areCharged()) {
        // V8 does not know of the new ones yet.
        floorBytes = otherBytes();
        relax();
      }
      viewBytes += bytes;
    },
    check,
    close() {
      if (timer) restore();
    },
  };
}

/** The option exists from Node.js 24 on, and went when it became the only way. */
const canRelax = ((): boolean => {
  const [major = 0, minor = 0] = process.versions.v8.split(".").map(Number);
  return major === 13 ? minor >= 6 : major === 14 && minor < 8;
})();
