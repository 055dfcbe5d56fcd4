import { describe } from "vitest";
import { etcd, nats, testsOfKilledServers } from "./fixtures/replicated.ts";
import { etcdServer, natsServer } from "./fixtures/servers.ts";

// At the same time: most of it is waiting until the servers agree again.
describe.concurrent("state in servers that are killed", () => {
  describe.skipIf(natsServer === undefined)("NATS", () => testsOfKilledServers(nats));
  describe.skipIf(etcdServer === undefined)("etcd", () => testsOfKilledServers(etcd));
});
