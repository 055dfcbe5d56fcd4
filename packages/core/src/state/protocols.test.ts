import { once } from "node:events";
import { createServer as createHttp } from "node:http";
import { connect as connectHttp2, createServer as createHttp2 } from "node:http2";
import { type AddressInfo, connect, type Server, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { serveBoth } from "./protocols.ts";

const open: (Server | Socket)[] = [];
afterEach(() => {
  for (const one of open.splice(0))
    if ("destroy" in one) one.destroy();
    else one.close();
});

async function listen(silenceMs = 10_000, host = "127.0.0.1"): Promise<number> {
  const http1 = createHttp((request, response) => {
    let text = "";
    request.on("data", (chunk: Buffer) => {
      text += chunk;
    });
    request.on("end", () => response.end(`one ${request.method} ${request.url} ${text}`));
  });
  const http2 = createHttp2();
  http2.on("stream", (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("two");
  });
  const server = serveBoth({ http1, http2, connectionsMax: 10, silenceMs });
  open.push(server.listen(0, host));
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function speak(port: number, pieces: readonly string[]): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  open.push(socket);
  socket.setNoDelay(true);
  let said = "";
  socket.on("data", (chunk: Buffer) => {
    said += chunk.toString("latin1");
  });
  socket.on("error", () => {});
  const ended = once(socket, "close");
  await once(socket, "connect");
  // Each in a packet of its own.
  for (const piece of pieces) await new Promise((resolve) => socket.write(piece, resolve));
  await ended;
  return said;
}

async function askHttp2(origin: string): Promise<string> {
  const session = connectHttp2(origin);
  let text = "";
  const request = session.request({ ":path": "/" });
  request.on("data", (chunk: Buffer) => {
    text += chunk;
  });
  await once(request, "end");
  session.close();
  return text;
}

test("each protocol has its server, on one port", async () => {
  const port = await listen();
  expect(await (await fetch(`http://127.0.0.1:${port}/a`, { method: "POST", body: "body" })).text()).toBe(
    "one POST /a body",
  );
  expect(await askHttp2(`http://127.0.0.1:${port}`)).toBe("two");
});

test("also by IPv6", async () => {
  const port = await listen(10_000, "::1");
  expect(await askHttp2(`http://[::1]:${port}`)).toBe("two");
  expect(await (await fetch(`http://[::1]:${port}/`)).text()).toBe("one GET / ");
});

test("whatever packets the first bytes come in, and many requests of a connection", async () => {
  const port = await listen();
  const request = "PRIVATE / HTTP/1.1\r\nhost: x\r\n\r\n";
  expect(
    await speak(port, [..."PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"]),
  ).toMatch(/one PUT \/ abc$/);
  const last = "GET /2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
  expect(await speak(port, [`GET /1 HTTP/1.1\r\nhost: x\r\n\r\n${last}`])).toMatch(/one GET \/1 (.|\s)*one GET \/2 $/);
  // It begins like HTTP/2, and is nothing.
  expect(await speak(port, [request])).toMatch(/^HTTP\/1\.1 400/);
  expect(await speak(port, ["PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"])).not.toContain("two");
});

test("who says nothing, or too little to tell, is cut off", async () => {
  const port = await listen(50);
  expect(await speak(port, [])).toBe("");
  expect(await speak(port, ["PR"])).toBe("");
});
