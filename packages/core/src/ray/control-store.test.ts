/** Ray's control store as a client of gRPC sees it; Ray's own tools ask it in test/ray. */
import { once } from "node:events";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from "node:http2";
import { type AddressInfo, connect as connectSocket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Verdict } from "../state/mod.ts";
import { type ControlStoreOptions, rayControlStore } from "./control-store.ts";
import { bytesField, bytesFields } from "./protobuf.ts";

const KV = "/ray.rpc.InternalKVGcsService/InternalKVGet";
const CLUSTER = "/ray.rpc.NodeInfoGcsService/GetClusterId";

let session: ClientHttp2Session;
let stop: () => void;
let port: number;
let logged: string[];
/** Lists are answered then. */
let listing: () => Promise<unknown>;

const state = {
  list: async () => {
    await listing();
    return { rows: [], total: 0, partial: [], asOfMs: 0, next: null };
  },
  sources: { waiting: async () => [] },
} as unknown as ControlStoreOptions["state"]; // It is asked for nothing else.

function decide(authorization: string | undefined): Verdict {
  if (authorization === "Bearer good") return { role: "reader" };
  if (authorization === "Bearer other") return { status: 403, message: "not from here" };
  return { status: 401, message: "a token is needed: 100 % – ask" };
}

beforeEach(async () => {
  logged = [];
  listing = async () => {};
  const server = rayControlStore({ state, decide, log: (line) => logged.push(line) }).listen(0, "127.0.0.1");
  await once(server, "listening");
  ({ port } = server.address() as AddressInfo);
  session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  stop = () => server.close();
});
afterEach(() => {
  session.destroy();
  stop();
});

interface Answer {
  readonly headers: IncomingHttpHeaders;
  /** Of trailers, or of headers when there is nothing else. */
  readonly status: string | undefined;
  readonly why: string;
  readonly message: Buffer;
}

const framed = (message: Uint8Array, flag = 0, length = message.length): Buffer => {
  const prefix = Buffer.alloc(5, flag);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
};

async function ask(path: string, body: Buffer, more: IncomingHttpHeaders = {}, isEnded = true): Promise<Answer> {
  const call = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    authorization: "Bearer good",
    ...more,
  });
  call.on("error", () => {});
  if (isEnded) call.end(body);
  else call.write(body);
  let headers: IncomingHttpHeaders | undefined;
  let trailers: IncomingHttpHeaders | undefined;
  call.on("response", (given) => {
    headers = given;
  });
  call.on("trailers", (given) => {
    trailers = given;
  });
  const chunks: Buffer[] = [];
  call.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(call, "close");
  const last: IncomingHttpHeaders = trailers ?? headers ?? {};
  return {
    headers: headers ?? {},
    status: last["grpc-status"]?.toString(),
    why: decodeURIComponent(String(last["grpc-message"] ?? "")),
    message: Buffer.concat(chunks).subarray(5),
  };
}

const key = (name: string, namespace = ""): Buffer =>
  framed(Buffer.concat([bytesField(1, name), bytesField(2, namespace)]));
const valueIn = ({ message }: Answer): string | undefined => bytesFields(message).get(2)?.toString();

test("tells what cluster it is, the same each time", async () => {
  const [one, two] = [await ask(CLUSTER, framed(Buffer.alloc(0))), await ask(CLUSTER, framed(Buffer.alloc(0)))];
  expect([one.status, one.headers["content-type"]]).toEqual(["0", "application/grpc"]);
  expect(bytesFields(one.message).get(2)).toHaveLength(28);
  expect(two.message).toEqual(one.message);
});

test("sends clients where they have come, so that they come through tunnels", async () => {
  expect(valueIn(await ask(KV, key("dashboard", "dashboard")))).toBe(`127.0.0.1:${port}`);
  const through = { ":authority": "[fd00::1]:9000" };
  expect(valueIn(await ask(KV, key("dashboard", "dashboard"), through))).toBe("[fd00::1]:9000");
});

test("has the version, and the report of an autoscaler; other keys are not there", async () => {
  const { ray_version } = JSON.parse(valueIn(await ask(KV, key("CLUSTER_METADATA", "cluster"))) ?? "");
  expect(ray_version).toMatch(/^\d+\.\d+\.\d+$/);
  const status = JSON.parse(valueIn(await ask(KV, key("__autoscaling_status"))) ?? "");
  expect(Object.keys(status)).toEqual(["time", "load_metrics_report", "autoscaler_report"]);
  const missing = await ask(KV, key("nothing"));
  expect(missing.status).toBe("0");
  // Code 17, which Ray's clients read as "no value".
  expect(bytesFields(missing.message).get(1)?.subarray(0, 2).toString("hex")).toBe("0811");
});

test("turns away who has no token, whatever else is wrong", async () => {
  for (const authorization of [undefined, "Bearer bad", "good"]) {
    const answer = await ask("/nothing", Buffer.from("x"), { authorization });
    expect(answer).toMatchObject({ status: "16", why: "a token is needed: 100 % – ask" });
  }
  expect(await ask(CLUSTER, framed(Buffer.alloc(0)), { authorization: "Bearer other" })).toMatchObject({ status: "7" });
});

test("says of methods that it does not know them", async () => {
  const answer = await ask("/ray.rpc.JobInfoGcsService/AddJob", framed(Buffer.alloc(0)));
  expect(answer).toMatchObject({ status: "12", why: expect.stringContaining("JobInfoGcsService/AddJob") });
});

test("garbage ends its own call, and nothing else", async () => {
  const bad: readonly (readonly [Buffer, string])[] = [
    [Buffer.alloc(0), "13"],
    [Buffer.from([0, 0, 0]), "13"],
    [framed(Buffer.from("abc"), 0, 4), "13"],
    [framed(Buffer.from("abc"), 0, 2), "13"],
    [framed(Buffer.from("abc"), 1), "12"],
    [framed(Buffer.from([0x0a, 200, 1])), "13"],
    [framed(Buffer.alloc(70_000)), "8"],
  ];
  for (const [body, status] of bad)
    expect((await ask(KV, body)).status, body.toString("hex").slice(0, 40)).toBe(status);
  // What has no end is refused before it.
  expect((await ask(KV, framed(Buffer.alloc(1_000_000), 0, 2 ** 31), {}, false)).status).toBe("8");
  expect((await ask(CLUSTER, framed(Buffer.alloc(0)))).status).toBe("0");
  expect(logged).toEqual([]);
});

test("a call ends when its client would not wait any longer", async () => {
  const { promise, resolve: go } = Promise.withResolvers<void>();
  listing = () => promise;
  expect(await ask(KV, key("__autoscaling_status"), { "grpc-timeout": "20m" })).toMatchObject({ status: "4" });
  // Also one whose request never ends.
  expect(await ask(KV, Buffer.from([0]), { "grpc-timeout": "20000u" }, false)).toMatchObject({ status: "4" });
  go();
});

test("a failure here is told, and logged", async () => {
  listing = () => Promise.reject(new Error("control is away"));
  expect(await ask(KV, key("__autoscaling_status"))).toMatchObject({ status: "13", why: "control is away" });
  expect(logged).toEqual([expect.stringContaining("control is away")]);
});

test("what is no call of gRPC is told so", async () => {
  const { headers } = await ask("/", Buffer.alloc(0), { "content-type": "text/plain" });
  expect(headers[":status"]).toBe(415);
});

test("what is not HTTP/2 ends its connection", async () => {
  const socket = connectSocket(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.on("data", () => {});
  socket.write(Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.alloc(200, 0xff)]));
  await once(socket, "close");
  expect((await ask(CLUSTER, framed(Buffer.alloc(0)))).status).toBe("0");
});
