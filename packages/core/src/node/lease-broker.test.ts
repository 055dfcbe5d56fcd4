import { describe, expect, test } from "vitest";
import type { JobId, LeaseId, NodeId, ProcessId } from "../base/ids.ts";
import type { Demand, WorkerAddress } from "../wire/messages.ts";
import { LeaseBroker } from "./lease-broker.ts";

const here = "node-here" as NodeId;
const there = "node-there" as NodeId;
const client = "client" as ProcessId;
const job = "job" as JobId;
const demand: Demand = { key: "k", resources: { cpu: 10_000 }, priority: 0, name: "f" };
const FIRST_FOREIGN = 2 ** 40;
const lease = (id: number): LeaseId => id as LeaseId;

function setUp(packable = 1, hasControl = false, isLimited = false) {
  const said: string[] = [];
  const broker = new LeaseBroker(here, {
    hasControl,
    misplaced: (asked) => (asked.placement ? { code: "INFEASIBLE", message: "not here" } : undefined),
    demandHere: (_client, shape, _demand, wanted, preemptAfterMs) =>
      void said.push(`here ${shape} ${wanted}${preemptAfterMs === 0 ? " urgent" : ""}`),
    overHere: (_client, shape) => void said.push(`over here ${shape}`),
    keptHere: (_client, id) => void said.push(`kept here ${id}`),
    preemptAfterMs: () => undefined,
    returnHere: (_client, id, retire) => void said.push(`return here ${id}${retire ? " retire" : ""}`),
    toNode: (node, message) => {
      const what =
        message.t === "lease-ask"
          ? `${message.wanted}${message.urgent ? " urgent" : ""}${message.isOver ? " over" : ""}`
          : `${message.leaseId}${message.t === "lease-give-back" && message.retire ? " retire" : ""}`;
      said.push(`${message.t} ${node} ${what}`);
    },
    divide: ({ wanted, granted, demand: first }) =>
      void said.push(`divide ${wanted} of ${JSON.stringify(granted)}${first ? " (first)" : ""}`),
    granted: ({ node, count }) => void said.push(`granted ${count} at ${node}`),
    forget: (key) => void said.push(`forget ${key}`),
    tell: (_client, notice) => {
      const there = notice.t === "lease-granted" && notice.idThere !== undefined ? ` there ${notice.idThere}` : "";
      said.push(`tell ${notice.t} ${"leaseId" in notice ? notice.leaseId : ""}${there}`.trim());
    },
    packable: () => packable,
    namespaceOf: () => "",
    infeasibleMs: () => 10_000,
    isLimited: () => isLimited,
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

  test("forgets what is not asked by any more, with the last lease of it", () => {
    const s = setUp();
    s.broker.demand(client, job, 0, demand, 1);
    // Its owner has not heard of it when it says that it is over.
    s.grantHere(1);
    s.broker.demand(client, job, 0, undefined, 0, true);
    expect(s.take()).toEqual(["here 0 1", "tell lease-granted 1", "here 0 0"]);
    expect(s.broker.asked(client, 0)).toBeDefined();
    s.broker.giveBack(client, lease(1), false);
    expect(s.take()).toEqual(["over here 0", "return here 1"]);
    expect(s.broker.asked(client, 0)).toBeUndefined();
    // One that was on its way is the owner's to give back.
    s.grantHere(2);
    s.broker.giveBack(client, lease(2), false);
    expect(s.take()).toEqual(["tell lease-granted 2", "return here 2"]);
    // A task is made again.
    s.broker.demand(client, job, 0, demand, 1);
    expect(s.take()).toEqual(["here 0 1"]);
  });
});

describe("in a cluster", () => {
  test("everybody forgets what is not asked by any more", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 2);
    s.divided([here, 1], [there, 1]);
    s.grantThere(9);
    s.take();
    s.broker.demand(client, job, 0, undefined, 0, true);
    s.take();
    s.broker.giveBack(client, lease(FIRST_FOREIGN), false);
    expect(s.take()).toEqual([
      `forget ${client}/0`,
      "over here 0",
      `lease-ask ${there} 0 over`,
      `lease-give-back ${there} 9`,
    ]);
    s.broker.clientGone(client);
    expect(s.take()).toEqual([]);
  });

  test("what control refuses is asked for nowhere any more", () => {
    const s = setUp(0);
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 2);
    s.divided([here, 1], [there, 1]);
    s.take();
    s.broker.divided({
      ...{ t: "leases-divided", key: `${client}/0`, at: [] },
      refused: { code: "GROUP_REMOVED", message: "it was removed" },
    });
    expect(s.take()).toEqual(["divide 0 of []", "here 0 0", `lease-ask ${there} 0`, "tell lease-refused"]);
  });

  test("what control calls urgent is said so where it waits, and no more when it is not; a lease that is kept is, where it is", () => {
    const s = setUp(0);
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 2);
    s.divided([here, 1], [there, 1]);
    s.take();
    const at = [
      [here, 1],
      [there, 1],
    ] as const;
    s.broker.divided({ t: "leases-divided", key: `${client}/0`, at, urgent: true });
    expect(s.take()).toEqual(["here 0 1 urgent", "lease-ask node-there 1 urgent"]);
    s.grantThere(9);
    s.take();
    s.broker.divided({ t: "leases-divided", key: `${client}/0`, at });
    expect(s.take()).toContain("here 0 1");
    s.broker.fromNode(there, client, { t: "lease-preempted", leaseId: lease(9), by: "g" });
    expect(s.take()).toEqual([`tell lease-preempted ${FIRST_FOREIGN}`]);
    s.broker.kept(client, lease(FIRST_FOREIGN), 5);
    s.broker.kept(client, lease(3), undefined);
    expect(s.take()).toEqual(["lease-kept-there node-there 9", "kept here 3"]);
  });

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

  test("a node dies: what waits at another goes on waiting there, and control is asked anew", () => {
    const s = setUp(0);
    const other = "node-other" as NodeId;
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 1);
    s.divided([there, 1]);
    s.grantThere(7);
    s.broker.giveBack(client, lease(FIRST_FOREIGN), false);
    s.divided([other, 1]);
    s.take();
    s.broker.nodeDied(there, "n2");
    expect(s.take()).toEqual(["divide 1 of [] (first)"]);
    s.divided([other, 1]);
    expect(s.take()).toEqual([]);
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

  test("control hears what is granted of what it has divided, and not what this node takes by itself", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 4);
    s.grantHere(1);
    expect(s.take()).not.toContain(`granted 1 at ${here}`);
    s.divided([here, 2], [there, 2]);
    s.take();
    s.grantHere(2);
    s.grantThere(7);
    expect(s.take()).toEqual([
      ...[`granted 2 at ${here}`, "tell lease-granted 2"],
      ...[`granted 1 at ${there}`, `tell lease-granted ${FIRST_FOREIGN} there 7`],
    ]);
    s.grantHere(3);
    expect(s.take()).toEqual(["tell lease-granted 3"]);
  });

  test("control that takes the node in again is asked again, with the demand, also when there is enough by now", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 2);
    s.grantHere(1);
    s.grantHere(2);
    s.take();
    s.broker.welcomed();
    expect(s.take()).toContain('divide 2 of [["node-here",2]] (first)');
  });

  test("what control was never asked it is not asked when it takes the node in", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 0);
    s.take();
    s.broker.welcomed();
    s.broker.clientGone(client);
    expect(s.take()).toEqual([]);
  });

  test("control forgets an owner that goes while it is asked again, or while there are no other nodes", () => {
    for (const change of ["welcomed", "clustered"] as const) {
      const s = setUp();
      s.broker.clustered(true);
      s.broker.demand(client, job, 0, demand, 2);
      if (change === "welcomed") s.broker.welcomed();
      else s.broker.clustered(false);
      s.take();
      s.broker.clientGone(client);
      expect(s.take()).toEqual(["forget client/0"]);
    }
  });

  test("a lease of another node has an id of its own here, under which it goes back", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 3);
    s.divided([there, 2]);
    s.take();
    s.grantThere(1);
    const [, granted = ""] = s.take();
    expect(granted).toMatch(/^tell lease-granted \d{13} there 1$/);
    const id = lease(Number(granted.split(" ")[2]));
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

  test("of a reclaimed lease the other node is told anew how many are wanted, whatever it was told meanwhile", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 3);
    s.divided([here, 1], [there, 2]);
    s.grantThere(1);
    const id = lease(Number(s.take().at(-1)?.split(" ")[2]));
    s.broker.fromNode(there, client, { t: "lease-reclaimed", shape: 0, leaseId: lease(1) });
    expect(s.take()).toEqual([`tell lease-reclaimed ${id}`]);
    s.divided([here, 1], [there, 2]);
    expect(s.take()).toEqual(["divide 3 of []", "lease-ask node-there 2"]);
    // This crosses the news that a lease has ended, so the node takes one off first and has one too many then.
    s.grantThere(2);
    s.broker.fromNode(there, client, { t: "lease-reclaimed", shape: 0, leaseId: lease(2) });
    s.take();
    s.broker.demand(client, job, 0, undefined, 0);
    expect(s.take()).toContain("lease-ask node-there 0");
  });

  test("so it is of one that its owner gave back while its worker ended it", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 3);
    s.divided([here, 1], [there, 2]);
    s.grantThere(1);
    s.broker.giveBack(client, lease(Number(s.take().at(-1)?.split(" ")[2])), false);
    s.take();
    s.broker.fromNode(there, client, { t: "lease-reclaimed", shape: 0, leaseId: lease(1) });
    expect(s.take()).toEqual(["divide 3 of []", "lease-ask node-there 2"]);
  });

  test("what control has heard to be granted, and has gone since, it is told even if as many are wanted as before", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 3);
    s.divided([here, 1], [there, 2]);
    s.take();
    s.grantThere(1);
    s.broker.giveBack(client, lease(Number(s.take().at(-1)?.split(" ")[2])), false);
    s.take();
    s.broker.demand(client, job, 0, undefined, 3);
    expect(s.take()).toContain("divide 3 of []");
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

  test("nor does one forget what its workers have ended, until what was sent there has come back", () => {
    const s = setUp();
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 3);
    s.divided([here, 1], [there, 2]);
    const ended = [1, 2].map((id) => {
      s.grantThere(id);
      const name = lease(Number(s.take().at(-1)?.split(" ")[2]));
      s.broker.fromNode(there, client, { t: "lease-reclaimed", shape: 0, leaseId: lease(id) });
      return name;
    });
    s.take();
    s.broker.giveBack(client, ended[0] as LeaseId, false);
    expect(s.take()).toEqual([]);
    s.broker.nodeDied(there, "n2");
    expect(s.take()[0]).toBe(`tell lease-lost ${ended[1]}`);
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

describe("a job with a quota", () => {
  const divided = (at: [NodeId, number][]) => ({ t: "leases-divided", key: `${client}/0`, at, limited: true }) as const;

  test("has nothing of this node that control has not given it, also when it is the only node", () => {
    for (const hasOthers of [true, false]) {
      const s = setUp(2, true, true);
      s.broker.clustered(hasOthers);
      s.broker.demand(client, job, 0, demand, 5);
      expect(s.take()).toEqual(["divide 5 of [] (first)"]);
      s.broker.divided(divided([[here, 1]]));
      expect(s.take()).toEqual(["here 0 1"]);
    }
  });

  test("refuses what is granted to it when it is allowed no more, and asks for no more", () => {
    const s = setUp(2, true, true);
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 5);
    s.broker.divided(
      divided([
        [here, 1],
        [there, 2],
      ]),
    );
    s.grantThere(1);
    s.broker.divided(
      divided([
        [here, 1],
        [there, 1],
      ]),
    );
    s.grantThere(2);
    s.take();
    s.grantHere(1);
    const said = s.take();
    expect(said).toEqual(expect.arrayContaining(["return here 1", "here 0 0"]));
    expect(said.filter((line) => line.startsWith("tell"))).toEqual([]);
    s.grantThere(3);
    expect(s.take()).toContain("lease-give-back node-there 3");
  });

  test("gives back what is too much when that has ended, and it is not asked for again before", () => {
    const s = setUp(2, true, true);
    s.broker.clustered(true);
    s.broker.demand(client, job, 0, demand, 5);
    s.broker.divided(
      divided([
        [here, 2],
        [there, 1],
      ]),
    );
    s.grantHere(1);
    s.grantHere(2);
    s.grantThere(1);
    s.take();
    s.broker.divided(divided([[here, 1]]));
    const said = s.take();
    // What comes back is not granted again.
    expect(said).toEqual(expect.arrayContaining(["here 0 1", "lease-ask node-there 0"]));
    expect(said.filter((line) => line.startsWith("tell"))).toEqual([
      "tell lease-revoked 2",
      `tell lease-revoked ${2 ** 40}`,
    ]);
    s.broker.divided(divided([[here, 1]]));
    expect(s.take().filter((line) => line.startsWith("tell"))).toEqual([]);
    s.broker.giveBack(client, lease(2), false);
    expect(s.take()).toContain("return here 2");
  });
});
