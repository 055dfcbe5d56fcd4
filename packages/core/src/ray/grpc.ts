/**
 * A server of gRPC, of calls with one request and one answer, without TLS. What others send is bounded in size, number and time, and what
 * is wrong ends its own call: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
 */
import {
  constants,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";

/** As gRPC numbers them. */
export const GRPC = {
  ok: 0,
  cancelled: 1,
  deadlineExceeded: 4,
  permissionDenied: 7,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unauthenticated: 16,
} as const;

/** What a call ends with instead of an answer. */
export class GrpcError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface GrpcCall {
  /** `/package.Service/Method` */
  readonly method: string;
  /** `host:port`, as the client called this server. */
  readonly authority: string;
  readonly message: Buffer;
}

export interface GrpcOptions {
  /** Before anything of the request is read. @throws GrpcError */
  letIn(headers: IncomingHttpHeaders): void;
  /** @throws GrpcError */
  answer(call: GrpcCall): Promise<Uint8Array>;
  log(message: string): void;
}

const MESSAGE_BYTES_MAX = 64 * 1024;
/** Of a call, whatever its client would wait. */
const CALL_MS = 30_000;
/** A client that is silent so long comes again when it wants something. */
const IDLE_MS = 120_000;
const SESSIONS_MAX = 256;
const CALLS_MAX = 32;
const HEADERS_BYTES_MAX = 16 * 1024;
const SESSION_MEGABYTES_MAX = 1;
/** One byte that says whether it is compressed, four of length. */
const PREFIX_BYTES = 5;

export function createGrpcServer(options: GrpcOptions): Http2Server {
  const server = createServer({
    maxSessionMemory: SESSION_MEGABYTES_MAX,
    maxHeaderListPairs: 64,
    maxSessionInvalidFrames: 16,
    maxSessionRejectedStreams: 16,
    settings: { enablePush: false, maxConcurrentStreams: CALLS_MAX, maxHeaderListSize: HEADERS_BYTES_MAX },
  });
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session: ServerHttp2Session) => {
    if (sessions.size >= SESSIONS_MAX) {
      session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
      return;
    }
    sessions.add(session);
    session.setTimeout(IDLE_MS, () => session.close());
    session.once("close", () => sessions.delete(session));
    session.on("error", () => session.destroy());
  });
  server.on("sessionError", () => {});
  server.on("stream", (stream: ServerHttp2Stream, headers) => void serve(stream, headers, options));
  return server;
}

async function serve(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  { letIn, answer, log }: GrpcOptions,
): Promise<void> {
  // Its client is gone, or has broken the protocol: nobody is left to be told.
  stream.on("error", () => {});
  if (headers[":method"] !== "POST" || !headers["content-type"]?.startsWith("application/grpc")) {
    stream.respond({ ":status": 415, "content-type": "text/plain" });
    stream.end("HTTP/2 is for gRPC here: ask with HTTP/1.1\n");
    return;
  }
  let late: NodeJS.Timeout | undefined;
  try {
    letIn(headers);
    const deadline = new Promise<never>((_resolve, reject) => {
      const is = (): void => reject(new GrpcError(GRPC.deadlineExceeded, "the call took longer than its client waits"));
      late = setTimeout(is, Math.min(CALL_MS, millisecondsOf(headers["grpc-timeout"])));
    });
    const method = headers[":path"] ?? "";
    const authority = headers[":authority"] ?? "";
    const work = read(stream).then((message) => answer({ method, authority, message }));
    sendAnswer(stream, await Promise.race([work, deadline]));
  } catch (error) {
    if (!(error instanceof GrpcError)) log(`a call of ${headers[":path"]} failed: ${(error as Error).stack}`);
    sendError(stream, error instanceof GrpcError ? error : new GrpcError(GRPC.internal, (error as Error).message));
  } finally {
    clearTimeout(late);
  }
}

const UNITS = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 } as const;

function millisecondsOf(timeout: string | string[] | undefined): number {
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(String(timeout ?? "")) ?? [];
  return digits === undefined ? Number.POSITIVE_INFINITY : Number(digits) * UNITS[unit as keyof typeof UNITS];
}

/** The one message of a request. @throws GrpcError */
function read(stream: ServerHttp2Stream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  return new Promise((resolve, reject) => {
    stream.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes <= PREFIX_BYTES + MESSAGE_BYTES_MAX) return;
      stream.pause();
      reject(new GrpcError(GRPC.resourceExhausted, `a request has at most ${MESSAGE_BYTES_MAX} bytes here`));
    });
    stream.once("end", () => {
      const body = Buffer.concat(chunks);
      if (body[0] === 1) reject(new GrpcError(GRPC.unimplemented, "requests are not compressed here"));
      else if (body.length < PREFIX_BYTES || body.readUInt32BE(1) !== body.length - PREFIX_BYTES)
        reject(new GrpcError(GRPC.internal, "the request is not one whole message"));
      else resolve(body.subarray(PREFIX_BYTES));
    });
    stream.once("close", () => reject(new GrpcError(GRPC.cancelled, "the client has left")));
  });
}

/** Its client has left, and there is nobody to answer. */
const isGone = (stream: ServerHttp2Stream): boolean => stream.destroyed || stream.closed;

const HEAD = { ":status": 200, "content-type": "application/grpc" };

function sendAnswer(stream: ServerHttp2Stream, message: Uint8Array): void {
  if (isGone(stream)) return;
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  stream.respond(HEAD, { waitForTrailers: true });
  stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": String(GRPC.ok) }));
  stream.end(Buffer.concat([prefix, message]));
}

function sendError(stream: ServerHttp2Stream, { status, message }: GrpcError): void {
  if (isGone(stream) || stream.headersSent) return;
  // Whatever is not plain text in ASCII is escaped as in an URL.
  const escaped = message.replace(/[^ -$&-~]+/g, encodeURIComponent);
  stream.respond({ ...HEAD, "grpc-status": String(status), "grpc-message": escaped }, { endStream: true });
  // What is still being sent is not read.
  stream.close(constants.NGHTTP2_NO_ERROR);
}
