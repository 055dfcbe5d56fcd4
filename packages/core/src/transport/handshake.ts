/**
 * The beginning of a TCP connection. Both sides prove that they know the token without sending it, in one round trip after
 * the listener's first word:
 *
 * 1. The listener sends a challenge: its version and a nonce.
 * 2. The dialler says hello: the version to speak, a nonce, a body (role, who it is, which session), and an HMAC by the token
 *    of all that.
 * 3. The listener answers welcome with a body and its own HMAC, or refuses by an error.
 *
 * A stranger gets nothing by which a token could be guessed. Over TLS the HMACs also cover what both sides derive from that
 * TLS connection, so that nobody can sit between them, whatever certificates they accept.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Socket } from "node:net";
import {
  AuthenticationError,
  ConnectionLostError,
  type ErrorKind,
  errorFromCode,
  InternalError,
  MobulaError,
} from "../base/errors.ts";
import { HANDSHAKE_BYTES_MAX, HANDSHAKE_TIMEOUT_MS } from "../base/limits.ts";
import { randomBytes } from "../base/random.ts";
import { commonVersion, versionMismatch, WIRE_VERSION } from "../base/wire-version.ts";
import { pack, unpack } from "../wire/mod.ts";
import { NotLeadingError } from "./not-leading.ts";
import type { Strangers } from "./strangers.ts";

/** What each side says of itself: plain data, 64 KiB at most. */
export interface Introduction {
  /** What the dialler wants to be: "node", "driver", "tool", "bulk" and the like. */
  readonly role: string;
  /** Who it is; whoever is greeted checks it field by field. */
  readonly who: unknown;
  /** For a connection that resumes, see `resumable.ts`. */
  readonly session?: unknown;
}

export interface Hello extends Introduction {
  /** The version that both speak. */
  readonly version: number;
}

interface Challenge {
  readonly t: "challenge";
  readonly version: number;
  readonly nonce: Uint8Array;
}

interface ProvenHello {
  readonly t: "hello";
  readonly version: number;
  readonly nonce: Uint8Array;
  readonly body: Uint8Array;
  readonly proof: Uint8Array;
}

interface ProvenWelcome {
  readonly t: "welcome";
  readonly body: Uint8Array;
  readonly proof: Uint8Array;
}

export interface Refused {
  readonly t: "refused";
  readonly code: string;
  readonly kind: ErrorKind;
  readonly message: string;
  /** Of `NOT_LEADING`: who does, if that is known. */
  readonly leader?: string;
}

const NONCE_BYTES = 16;
const PROOF_BYTES = 32;

export function refusal(error: MobulaError): Refused {
  const { code, kind, message } = error;
  const leader = error instanceof NotLeadingError ? error.leader : undefined;
  return { t: "refused", code, kind, message, ...(leader !== undefined && { leader }) };
}

// ── the listener ─────────────────────────────────────────────────────────────────────────────────────────────────────

export interface GreetOptions {
  readonly strangers: Strangers;
  /** The tokens that are valid now. A new one is added here before others begin to use it, and the old one removed after. */
  readonly tokens: () => readonly string[];
  readonly version?: number;
  /** What to answer; refuses by throwing a MobulaError. Called once, for a hello that was proven. */
  onHello(hello: Hello): Pick<Introduction, "who" | "session">;
  /** The connection is yours: it is paused, and the welcome has been written. */
  onWelcomed(socket: Socket, hello: Hello): void;
  /** For the log. Strangers that vanish or send garbage are not worth a word. */
  onRefused?(error: MobulaError, from: string): void;
}

/** Greets whoever has connected; the socket is paused. */
export function greet(socket: Socket, options: GreetOptions): void {
  const { version: own = WIRE_VERSION } = options;
  const stranger = options.strangers.meet((why) => socket.destroy(why));
  const frames = new FirstFrames(socket);
  socket.once("close", () => stranger.part());
  if (socket.destroyed) return;
  const challenge: Challenge = { t: "challenge", version: own, nonce: randomBytes(NONCE_BYTES) };
  socket.write(frame(challenge));

  frames.next((message) => {
    const refuse = (error: MobulaError): void => {
      options.onRefused?.(error, `${socket.remoteAddress}`);
      // The rest of what it says is read and thrown away: unread, it would make the system take back the refusal.
      frames.stop();
      socket.resume();
      socket.end(frame(refusal(error)));
    };
    const hello = message as ProvenHello; // Checked field by field here.
    if (hello.t !== "hello" || !isBytes(hello.nonce, NONCE_BYTES)) {
      return refuse(new AuthenticationError("the first message of a connection must be hello"));
    }
    try {
      commonVersion(hello, own, "the listener", "the process that connects");
    } catch (error) {
      return refuse(error as MobulaError); // As it throws.
    }
    if (!isBytes(hello.proof, PROOF_BYTES) || !(hello.body instanceof Uint8Array)) {
      return refuse(new AuthenticationError("hello lacks a body or a proof"));
    }
    const context = contextOf(socket, hello.version, challenge.nonce, hello.nonce);
    const token = options
      .tokens()
      .find((one) => one !== "" && isProof(hello.proof, one, "dial", context, [hello.body]));
    if (token === undefined) {
      return refuse(new AuthenticationError("the token is wrong; it must be the one of the cluster that is joined"));
    }
    const known = readBody(hello.body, hello.version);
    if (!known) return refuse(new AuthenticationError("the body of hello cannot be read, or lacks a role"));
    let answer: Uint8Array;
    try {
      answer = pack({ role: "listener", ...options.onHello(known) });
    } catch (error) {
      refuse(
        error instanceof MobulaError
          ? error
          : new InternalError("the listener failed to answer hello", { cause: error }),
      );
      return;
    }
    const proof = prove(token, "welcome", context, [hello.body, answer]);
    socket.write(frame({ t: "welcome", body: answer, proof } satisfies ProvenWelcome));
    stranger.part();
    frames.stop();
    options.onWelcomed(socket, known);
  });
}

function readBody(body: Uint8Array, version: number): Hello | undefined {
  try {
    const { role, who, session } = unpack(body) as Introduction;
    return typeof role === "string" ? { role, who, session, version } : undefined;
  } catch {
    return undefined;
  }
}

// ── the dialler ──────────────────────────────────────────────────────────────────────────────────────────────────────

export interface IntroduceOptions extends Introduction {
  readonly token: string;
  readonly version?: number | undefined;
  /** Milliseconds until the welcome, default 10,000. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Says hello. The socket is paused when this resolves, and unread what followed the welcome.
 *
 * @throws AuthenticationError, VersionMismatchError, whatever the listener refuses with; ConnectionLostError.
 */
export function introduce(socket: Socket, options: IntroduceOptions): Promise<Hello> {
  const { token, role, who, session, version: own = WIRE_VERSION, timeoutMs = HANDSHAKE_TIMEOUT_MS, signal } = options;
  return new Promise((resolve, reject) => {
    const frames = new FirstFrames(socket);
    let hasBegun = false;
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      frames.stop();
    };
    const fail = (error: Error): void => {
      // What this process finds out for itself would be found out again.
      if (!(error instanceof ConnectionLostError)) refusals.add(error);
      settle();
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(() => fail(new ConnectionLostError(`no welcome within ${timeoutMs} ms`)), timeoutMs);
    const abort = (): void => fail(new ConnectionLostError("it was given up"));
    signal?.addEventListener("abort", abort, { once: true });
    frames.onEnd = (error) => {
      const hint = hasBegun ? "" : "; the listener may demand TLS, or a certificate that its authority has signed";
      const why = error ? `: ${error.message}` : hint;
      fail(new ConnectionLostError(`the connection ended before the welcome${why}`, { cause: error }));
    };
    if (signal?.aborted) return abort();
    if (socket.destroyed) return frames.onEnd(undefined);

    frames.next((first) => {
      hasBegun = true;
      const { t, version: theirs, nonce } = first as Challenge;
      if (t !== "challenge" || !isBytes(nonce, NONCE_BYTES) || !Number.isInteger(theirs)) {
        return fail(asError(first) ?? new ConnectionLostError("what answers there is not a listener of mobula"));
      }
      // The newer side speaks the version of the older.
      const version = Math.min(own, theirs);
      const there = `the process at ${socket.remoteAddress}:${socket.remotePort}`;
      if (theirs - version > 1) return fail(versionMismatch(theirs, there, own, "this process"));
      if (own - version > 1) return fail(versionMismatch(own, "this process", theirs, there));
      const mine = randomBytes(NONCE_BYTES);
      const context = contextOf(socket, version, nonce, mine);
      const body = pack({ role, who, session });
      const proof = prove(token, "dial", context, [body]);
      socket.write(frame({ t: "hello", version, nonce: mine, body, proof } satisfies ProvenHello));

      frames.next((second) => {
        const welcome = second as ProvenWelcome;
        if (welcome.t !== "welcome" || !isBytes(welcome.proof, PROOF_BYTES) || !(welcome.body instanceof Uint8Array)) {
          return fail(asError(second) ?? new ConnectionLostError("the listener answered hello with nonsense"));
        }
        if (!isProof(welcome.proof, token, "welcome", context, [body, welcome.body])) {
          return fail(
            new AuthenticationError("the listener does not know the token; it may not be the one that was meant"),
          );
        }
        const listener = { ...(unpack(welcome.body) as Introduction), version };
        settle();
        resolve(listener);
      });
    });
  });
}

const refusals = new WeakSet<Error>();

/** Whether {@link introduce} failed because the listener, or this process, will not have the connection. */
export const isRefusal = (error: Error): boolean => refusals.has(error);

/** A refusal as the error that it stands for. */
function asError(message: unknown): MobulaError | undefined {
  const { t, code, kind, message: words, leader } = message as Refused;
  if (t !== "refused" || typeof code !== "string" || typeof words !== "string") return undefined;
  const error =
    code === "NOT_LEADING"
      ? new NotLeadingError(typeof leader === "string" ? leader : undefined)
      : errorFromCode(code, kind, words);
  refusals.add(error);
  return error;
}

// ── proofs ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What a proof is good for: this connection only. */
function contextOf(socket: Socket, version: number, challenge: Uint8Array, nonce: Uint8Array): Buffer {
  const { exportKeyingMaterial } = socket as Partial<import("node:tls").TLSSocket>;
  const channel = exportKeyingMaterial?.call(socket, 32, "EXPORTER-mobula", Buffer.alloc(0));
  return Buffer.concat([Buffer.from(`mobula ${version}\0`), challenge, nonce, channel ?? Buffer.alloc(32)]);
}

function prove(token: string, purpose: "dial" | "welcome", context: Buffer, bodies: readonly Uint8Array[]): Buffer {
  const hmac = createHmac("sha256", token).update(purpose).update(context);
  // Each length is covered, so that no two lists of bodies look the same.
  for (const body of bodies) hmac.update(`${body.length}\0`).update(body);
  return hmac.digest();
}

function isProof(given: Uint8Array, ...of: Parameters<typeof prove>): boolean {
  return timingSafeEqual(given, prove(...of));
}

const isBytes = (value: unknown, length: number): value is Uint8Array =>
  value instanceof Uint8Array && value.length === length;

// ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function frame(message: object): Buffer {
  const body = pack(message);
  const length = Buffer.allocUnsafe(4);
  length.writeUInt32LE(body.length);
  return Buffer.concat([length, body]);
}

/** Reads a connection's first frames one by one, and leaves in the socket what follows the last that was asked for. */
class FirstFrames {
  onEnd: ((error: Error | undefined) => void) | undefined;
  private readonly socket: Socket;
  private handle: ((message: object) => void) | undefined;
  private chunks: Buffer[] = [];
  private bytes = 0;
  private needs = 4;
  private failure: Error | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.pause();
    socket.on("data", this.onData).on("error", this.onError).on("close", this.onClose);
  }

  next(handle: (message: object) => void): void {
    this.handle = handle;
    this.socket.resume();
  }

  /** From now on the socket is somebody else's. */
  stop(): void {
    this.handle = undefined;
    this.socket.pause();
    this.socket.off("data", this.onData).off("error", this.onError).off("close", this.onClose);
    // Until that somebody listens, an error is followed by the close that tells it the same.
    this.socket.on("error", ignore);
  }

  private readonly onData = (chunk: Buffer): void => {
    this.chunks.push(chunk);
    this.bytes += chunk.length;
    if (this.bytes < this.needs) return;
    let all = Buffer.concat(this.chunks, this.bytes);
    this.needs = 4 + all.readUInt32LE(0);
    if (this.needs > HANDSHAKE_BYTES_MAX) {
      this.socket.destroy(new ConnectionLostError(`its first frame is longer than ${HANDSHAKE_BYTES_MAX} bytes`));
    } else if (this.bytes < this.needs) {
      this.chunks = [all];
    } else {
      const rest = all.subarray(this.needs);
      all = all.subarray(4, this.needs);
      this.chunks = [];
      this.bytes = 0;
      this.needs = 4;
      this.socket.pause();
      if (rest.length > 0) this.socket.unshift(rest);
      this.deliver(all);
    }
  };

  private deliver(frame: Buffer): void {
    const { handle } = this;
    this.handle = undefined;
    try {
      const message = unpack(frame);
      handle?.(typeof message === "object" && message !== null ? message : {});
    } catch (error) {
      this.socket.destroy(error instanceof Error ? error : new ConnectionLostError(String(error)));
    }
  }

  private readonly onError = (error: Error): void => {
    this.failure = error;
  };

  private readonly onClose = (): void => {
    this.onEnd?.(this.failure);
  };
}

const ignore = (): void => {
  // The close that follows is handled.
};
