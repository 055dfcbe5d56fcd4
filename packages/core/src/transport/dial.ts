/**
 * The side of a resumable connection that dials, and dials again.
 *
 * A peer that does not acknowledge for long may be busy (a worker that computes), or its connection may lead nowhere without
 * anybody having been told. The two look alike from here, so another connection is tried beside the first: a network that
 * is broken does not let it through, one that works again carries on over it, and a peer that is busy takes it when it comes
 * to that, if the first has not moved by then.
 */
import { monotonicMs } from "../base/clock.ts";
import { ConnectionLostError } from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";
import { type Hello, introduce, isRefusal } from "./handshake.ts";
import { type ResumableOptions, ResumablePeer } from "./resumable.ts";
import { readAnswer, type SessionRequest } from "./session.ts";
import { connectTcp, secure } from "./tcp.ts";
import type { Tls } from "./tls.ts";

export interface DialOptions extends ResumableOptions {
  /** `host:port` */
  readonly address: string;
  /** Asked for each connection, so that it may change. */
  readonly token: () => string;
  readonly role: string;
  /** Who this is; plain data. */
  readonly who: unknown;
  readonly tls?: Tls | undefined;
  readonly version?: number | undefined;
  /** Milliseconds to go on trying until there is a first connection; by default it is tried once. */
  readonly patienceMs?: number;
  /** Milliseconds without a word of something having arrived, until another connection is tried. Default 5,000. */
  readonly stalledMs?: number;
  readonly connectTimeoutMs?: number;
  /** Gives up, before there is a connection and after. */
  readonly signal?: AbortSignal;
  readonly handshakeTimeoutMs?: number;
  /** Milliseconds before a connection is tried again: doubled each time, and shortened by up to half at random. */
  readonly backoff?: { readonly firstMs: number; readonly maxMs: number };
}

export interface Dialled {
  readonly peer: ResumablePeer;
  /** Who the listener says it is. */
  readonly listener: Hello;
}

const STALLED_MS = 5_000;
const BACKOFF = { firstMs: 50, maxMs: 2_000 };

/**
 * Connects, and stays connected until the session ends.
 *
 * @throws AuthenticationError, VersionMismatchError, or whatever the listener refuses with; ConnectionLostError.
 */
export async function dialPeer(options: DialOptions): Promise<Dialled> {
  const dialler = new Dialler(options);
  return { peer: dialler.peer, listener: await dialler.begin() };
}

class Dialler {
  readonly peer: ResumablePeer;
  private readonly options: DialOptions;
  private readonly session = randomBytes(16).toString("hex");
  private readonly ended = new AbortController();
  private attempts = 0;
  /** Attempts that came to nothing, since something last went through. */
  private failures = 0;
  private isWelcomed = false;
  private isDialling = false;
  private isStalled = false;
  /** What had gone through when the last connection began. */
  private before = 0;
  private stallTimer: NodeJS.Timeout | undefined;

  constructor(options: DialOptions) {
    this.options = options;
    this.peer = new ResumablePeer(options);
    const giveUp = (): void => this.peer.destroy();
    options.signal?.addEventListener("abort", giveUp);
    this.peer.whenEnded = () => {
      options.signal?.removeEventListener("abort", giveUp);
      clearInterval(this.stallTimer);
      this.ended.abort();
    };
    this.peer.whenDetached = () => {
      this.failures = this.progress > this.before ? 0 : this.failures + 1;
      this.keepConnected();
    };
  }

  async begin(): Promise<Hello> {
    const { patienceMs = 0, stalledMs = STALLED_MS } = this.options;
    const until = monotonicMs() + patienceMs;
    if (this.options.signal?.aborted) this.peer.destroy();
    for (;;) {
      try {
        const listener = await this.connect();
        this.stallTimer = setInterval(this.watch, stalledMs);
        this.stallTimer.unref();
        return listener;
      } catch (error) {
        this.failures++;
        if (isRefusal(error as Error) || this.peer.isClosed || monotonicMs() >= until) throw error;
        await this.backOff();
      }
    }
  }

  private get progress(): number {
    return this.peer.receivedBytes + this.peer.arrivedBytes;
  }

  private keepConnected(): void {
    if (this.isDialling) return;
    this.isDialling = true;
    // It handles every failure.
    void this.dialUntilConnected().then(() => {
      this.isDialling = false;
    });
  }

  private async dialUntilConnected(): Promise<void> {
    const { peer } = this;
    while (!peer.isClosed && (!peer.isConnected || this.isStalled)) {
      await this.backOff();
      if (peer.isClosed || (peer.isConnected && !this.isStalled)) return;
      try {
        await this.connect();
      } catch (error) {
        if (isRefusal(error as Error)) peer.refused(error as Error);
        this.failures++;
      }
    }
  }

  private async connect(): Promise<Hello> {
    const { peer, options } = this;
    const { address, tls, role, who, version, connectTimeoutMs, handshakeTimeoutMs } = options;
    const { signal } = this.ended;
    let socket = await connectTcp(address, { timeoutMs: connectTimeoutMs, signal }).catch((error) => {
      if (this.isStalled) peer.suspend(error);
      throw error;
    });
    if (tls) socket = await secure(socket, address, tls, { timeoutMs: handshakeTimeoutMs, signal });
    const told = peer.receivedBytes;
    const session: SessionRequest = {
      id: this.session,
      attempt: ++this.attempts,
      received: told,
      isNew: !this.isWelcomed,
    };
    const token = options.token();
    const listener = await introduce(socket, {
      role,
      who,
      session,
      token,
      version,
      timeoutMs: handshakeTimeoutMs,
      signal,
    });
    const theirs = readAnswer(listener.session)?.received;
    if (theirs === undefined) {
      socket.destroy();
      throw new ConnectionLostError("the welcome names no valid session");
    }
    this.isWelcomed = true;
    this.isStalled = false;
    this.before = this.progress;
    peer.attach(socket, told, theirs);
    return listener;
  }

  private async backOff(): Promise<void> {
    const { firstMs, maxMs } = this.options.backoff ?? BACKOFF;
    const longest = Math.min(firstMs * 2 ** Math.min(this.failures, 30), maxMs);
    // All that lost their connections to one listener do not come back at once.
    await pause(this.failures === 0 ? firstMs * Math.random() : longest * (1 - Math.random() / 2), this.ended.signal);
  }

  private heard = 0;
  private awaited = false;

  private readonly watch = (): void => {
    const { peer } = this;
    const awaits = peer.isConnected && peer.awaitsAck;
    this.isStalled = awaits && this.awaited && peer.arrivedBytes === this.heard;
    this.awaited = awaits;
    this.heard = peer.arrivedBytes;
    if (this.isStalled) this.keepConnected();
  };
}

function pause(ms: number, until: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      until.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    until.addEventListener("abort", end);
    if (until.aborted) end();
  });
}
