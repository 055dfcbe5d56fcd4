import { once } from "node:events";
import { createServer } from "node:http";
import { describe, expect, test } from "vitest";
import { etcd, testsOfReplicatedState } from "./fixtures/replicated.ts";
import { etcdServer, startEtcd } from "./fixtures/servers.ts";
import { commit } from "./fixtures/suite.ts";
import { openEtcdLog } from "./log-etcd.ts";
import { openLogState } from "./state-log.ts";

describe.skipIf(etcdServer === undefined)("etcd", () => {
  testsOfReplicatedState(etcd);
});

describe.skipIf(etcdServer === undefined)("one etcd server", () => {
  test("that is full refuses the commit in a sentence and loses nothing", async () => {
    const servers = await startEtcd(1, ["--quota-backend-bytes", String(8 << 20)]);
    try {
      const open = async () => openLogState(await openEtcdLog({ servers: servers.addresses, cluster: "full" }));
      const state = await open();
      await commit(state, { key: "small", value: Buffer.from("kept") });
      expect(await commit(state, { key: "big", value: new Uint8Array(20 << 20) })).toMatchObject({
        kind: "failed",
        error: { code: "DISK_FULL", message: expect.stringContaining("cannot grow") },
      });
      expect((await state.list("")).map(({ key }) => key)).toEqual(["small"]);
      await state.close();
    } finally {
      await servers.stop();
    }
  });
});

test("an etcd server with a version that can lose writes is refused, by name and version", async () => {
  const old = createServer((_, response) => response.end('{"etcdserver":"3.5.2","etcdcluster":"3.5.0"}'));
  old.listen(0, "127.0.0.1");
  await once(old, "listening");
  try {
    const address = `http://127.0.0.1:${(old.address() as { port: number }).port}`;
    await expect(openEtcdLog({ servers: [address], cluster: "c" })).rejects.toMatchObject({
      code: "STATE_UNSAFE",
      message: `${address} is etcd 3.5.2, which can lose acknowledged writes; use 3.5.5 or newer`,
    });
  } finally {
    old.close();
  }
});
