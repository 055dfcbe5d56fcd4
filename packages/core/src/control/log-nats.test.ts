import { once } from "node:events";
import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { nats, testsOfReplicatedState } from "./fixtures/replicated.ts";
import { natsServer, startNats } from "./fixtures/servers.ts";
import { commit } from "./fixtures/suite.ts";
import { openNatsLog } from "./log-nats.ts";
import { openLogState } from "./state-log.ts";

describe.skipIf(natsServer === undefined)("NATS", () => {
  testsOfReplicatedState(nats);
});

describe.skipIf(natsServer === undefined)("one NATS server", () => {
  test("that is full refuses the commit in a sentence, loses nothing, and takes smaller ones", async () => {
    const servers = await startNats(1);
    try {
      const state = await openLogState(
        await openNatsLog({ servers: servers.addresses, cluster: "full", replicas: 1, bytesMax: 300_000 }),
      );
      await commit(state, { key: "small", value: Buffer.from("kept") });
      expect(await commit(state, { key: "big", value: new Uint8Array(400_000) })).toMatchObject({
        kind: "failed",
        error: { code: "DISK_FULL", message: expect.stringContaining("cannot grow") },
      });
      expect(await state.get("big")).toBeUndefined();
      expect(await commit(state, { key: "small", value: Buffer.from("again"), expect: 1 })).toMatchObject({
        kind: "committed",
      });
      await state.close();
    } finally {
      await servers.stop();
    }
  });

  test("that does not sync each write is refused when its monitor is named", async () => {
    const servers = await startNats(1, { syncInterval: "2m" });
    try {
      const options = { servers: servers.addresses, cluster: "c", replicas: 1 };
      await expect(openNatsLog({ ...options, monitors: servers.monitors })).rejects.toMatchObject({
        code: "STATE_UNSAFE",
        message: expect.stringContaining("sync_interval: always"),
      });
    } finally {
      await servers.stop();
    }
  });

  test("whose monitor says that it syncs is taken, and a stream on too few servers is not", async () => {
    const servers = await startNats(1);
    try {
      const options = { servers: servers.addresses, cluster: "c", monitors: servers.monitors };
      await (await openNatsLog({ ...options, replicas: 1 })).close();
      await expect(openNatsLog(options)).rejects.toMatchObject({
        code: "STATE_UNSAFE",
        message: expect.stringContaining("on 1 servers instead of 3"),
      });
    } finally {
      await servers.stop();
    }
  });
});

test("a NATS server older than 2.12 is refused, by name and version", async () => {
  const old = createServer((socket) => {
    socket.write('INFO {"server_id":"x","version":"2.11.4","max_payload":1048576,"proto":1,"headers":true}\r\n');
    socket.on("data", (chunk) => {
      if (chunk.includes("PING")) socket.write("PONG\r\n");
    });
    socket.on("error", () => socket.destroy());
  });
  old.listen(0, "127.0.0.1");
  await once(old, "listening");
  try {
    const address = `127.0.0.1:${(old.address() as { port: number }).port}`;
    await expect(openNatsLog({ servers: [address], cluster: "c" })).rejects.toMatchObject({
      code: "STATE_UNSAFE",
      message: `${address} is nats-server 2.11.4, which can lose acknowledged writes; use 2.12.0 or newer`,
    });
  } finally {
    old.close();
  }
});
