import { describe, expect, test } from "vitest";
import type { JobId, LeaseId, NodeId, ProcessId } from "../base/ids.ts";
import type { Demand, WorkerAddress } from "../wire/messages.ts";
import { LeaseBroker } from "./lease-broker.ts";

const here = "node-here" as NodeId;
const there = "node-there" as NodeId;
const client = "client" as ProcessId;
const job = "job" as JobId;
const demand: Demand = { key: "k", resources: { cpu: 10_000 }, priority: 0, name: "f" };
const lease = (id: number): LeaseId => id as LeaseId;

function setUp(packable = 1, hasControl = false) {
  const said: string[] = [];
  const broker = new LeaseBroker(here, {
    hasControl,
    misplaced: (asked) => (asked.placement ? { code: "INFEASIBLE", message: "not here" } : undefined),
    demandHere: (_client, shape, _demand, wanted) => void said.push(`here ${shape} ${wanted}`),
    returnHere: (_client, id, retire) => void said.push(`return here ${id}${retire ? " retire" : ""}`),
    toNode: (node, message) => {
      const what = message.t === "lease-ask" ? message.wanted : `${message.leaseId}${message.retire ? " retire" : ""}`;
      said.push(`${message.t} ${node} ${what}`);
    },
    divide: ({ wanted, granted, demand: first }) =>
      void said.push(`divide ${wanted} of ${JSON.stringify(granted)}${first ? " (first)" : ""}`),
    forget: (key) => void said.push(`forget ${key}`),
    tell: (_client, notice) => void said.push(`tell ${notice.t} ${"leaseId" in notice ? notice.leaseId : ""}`.trim()),
    packable: () => packable,
    namespaceOf: () => "",
  });
  const worker = { workerId: "w1", pid: 7 } as unknown as WorkerAddress;
  return {
    broker,
    take: () => said.splice(0),
    grantHere: (id: number) =>
      broker.fromHere(client, { t: "lease-granted", shape: 0, leaseId: lease(id), worker, gpus: [] }),
    grantThere: (id: number) =>
      broker.fromNode(there, client, { t: "lease-granted", shape: 0, leaseId: lease(id), worker, gpus: [] }),
    divided: (...at: [NodeId, number][]) => broker.divided({ t: "leases-divided", key: `${client}/0`, at }),
  };
}

describe("a node by itself", () => {
  test("asks its engine for everything, also for fewer than are held", () => {
    const s = setUp();
    s.broker.demand(client, job, 0, demand, 5);
    s.grantHere(1);
    s.grantHere(2);
    s.broker.demand(client, job, 0, undefined, 1);
    expect(s.take()).toEqual(["here 0 5", "tell lease-granted 1", "tell lease-granted 2", "here 0 1"]);
    s.broker.giveBack(client, lease(1), false);
    expect(s.take()).toEqual(["return here 1"]);
  });
});

describe("in a cluster", () => {
  test("a node that is drained asks for nothing here, and for what comes back elsewhere", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 2);
    s.grantHere(1);
    s.take();
    s.broker.drain();
    expect(s.take()).toEqual(['divide 2 of [["node-here",1]]']);
    s.broker.giveBack(client, lease(1), false);
    expect(s.take()).toEqual(["return here 1", "divide 2 of []", "here 0 0"]);
    s.divided([there, 2]);
    expect(s.take()).toEqual(["lease-ask node-there 2"]);
  });

  test("takes what packs here at once, and has control divide the rest", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 4);
    expect(s.take()).toEqual(["divide 4 of [] (first)", "here 0 1"]);
    s.divided([here, 2], [there, 2]);
    expect(s.take()).toEqual(["here 0 2", "lease-ask node-there 2"]);
  });

  test("control is told what is granted, and is not asked when that is enough", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 1);
    s.take();
    s.grantHere(1);
    s.broker.demand(client, job, 0, undefined, 2);
    expect(s.take()).toEqual(["tell lease-granted 1", 'divide 2 of [["node-here",1]]', "here 0 2"]);
  });

  test("a lease of another node has an id of its own here, under which it goes back", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 3);
    s.divided([there, 2]);
    s.take();
    s.grantThere(1);
    const [granted = ""] = s.take();
    expect(granted).toMatch(/^tell lease-granted \d{13}$/);
    const id = lease(Number(granted.split(" ").at(-1)));
    s.broker.fromNode(there, client, { t: "lease-revoked", leaseId: lease(1) });
    expect(s.take()).toEqual([`tell lease-revoked ${id}`]);
    expect(s.broker.nodeOf("w1")).toBe(there);
    s.broker.giveBack(client, id, true);
    expect(s.take()).toEqual(["lease-give-back node-there 1 retire"]);
    expect(s.broker.nodeOf("w1")).toBeUndefined();
  });

  test("fewer than before are taken back elsewhere first, and what is not granted before what is", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 6);
    s.divided([here, 3], [there, 3]);
    s.grantThere(1);
    s.grantHere(1);
    s.take();
    s.broker.demand(client, job, 0, undefined, 4);
    expect(s.take()).toEqual(['divide 4 of [["node-here",1],["node-there",1]]', "lease-ask node-there 1"]);
    s.broker.demand(client, job, 0, undefined, 1);
    expect(s.take()).toEqual(['divide 1 of [["node-here",1],["node-there",1]]', "here 0 1", "lease-ask node-there 0"]);
  });

  test("a reclaimed lease is one less that the other node was asked for", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 3);
    s.divided([here, 1], [there, 2]);
    s.grantThere(1);
    const id = lease(Number(s.take().at(-1)?.split(" ").at(-1)));
    s.broker.fromNode(there, client, { t: "lease-reclaimed", shape: 0, leaseId: lease(1) });
    expect(s.take()).toEqual([`tell lease-reclaimed ${id}`]);
    s.divided([here, 1], [there, 2]);
    expect(s.take()).toEqual(["lease-ask node-there 2"]);
  });

  test("a node that dies takes its leases with it, and control divides anew", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 3);
    s.divided([here, 1], [there, 2]);
    s.grantThere(1);
    s.take();
    s.broker.nodeDied(there, "n2");
    const told = s.take();
    expect(told[0]).toMatch(/^tell lease-lost \d{13}$/);
    expect(told).not.toContain("lease-ask node-there 2");
  });

  test("what is granted to an owner that is gone goes back", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 3);
    s.divided([here, 1], [there, 2]);
    s.take();
    s.broker.clientGone(client);
    expect(s.take()).toEqual([`forget ${client}/0`, "lease-ask node-there 0"]);
    s.grantThere(9);
    expect(s.take()).toEqual(["lease-give-back node-there 9"]);
  });

  test("while control is away a node counts on itself, and asks again when it is back", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 3);
    s.divided([here, 1], [there, 2]);
    s.take();
    s.broker.clustered(false);
    expect(s.take()).toEqual(["here 0 3", "lease-ask node-there 0"]);
    s.broker.clustered(true);
    // Control may be another one, and has not heard of it.
    expect(s.take()).toEqual(["divide 3 of [] (first)", "here 0 1"]);
  });
});
