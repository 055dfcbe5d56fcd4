import { bandwidth, duration, ofLimit, type Row, rate, ratio, type Session, sizes } from "./plan.ts";

const OBJECT_BYTES = 512 * 2 ** 20;
const QUICK_BYTES = 2 ** 20;
const atMostSeconds = (row: Pick<Row, "name">, value: number): Row => ({
  ...duration({ ...row, goals: [{ kind: "most", value }] }),
});

/** Each starts a cluster of its own: all of its nodes are on this machine. */
const session = (name: string, ...workloads: Session["workloads"]): Session => ({ name, opens: false, workloads });

export const clusterSessions: readonly Session[] = [
  session(
    "cluster-start",
    {
      name: "cluster-head",
      full: sizes({}),
      quick: sizes({}),
      on: ["mobula", "ray"],
      rows: [duration({ name: "cluster: head ready", goals: [ratio(8)] })],
    },
    {
      name: "cluster-join",
      full: sizes({ count: 2 }),
      quick: sizes({ count: 1 }),
      on: ["mobula", "ray"],
      rows: [duration({ name: "cluster: each further node joined", goals: [ratio(8)] })],
    },
  ),
  session(
    "cluster-objects",
    {
      name: "cluster-transfer",
      full: sizes({ count: 1, bytes: OBJECT_BYTES }),
      quick: sizes({ count: 1, bytes: QUICK_BYTES }),
      on: ["mobula", "ray"],
      rows: [bandwidth({ name: "512 MiB to another node, warm", limit: "tcp-copy", goals: [ratio(2), ofLimit(0.8)] })],
    },
    {
      name: "cluster-transfer-tls",
      full: sizes({ count: 1, bytes: OBJECT_BYTES }),
      quick: sizes({ count: 1, bytes: QUICK_BYTES }),
      // What encryption costs, and no comparison.
      on: ["mobula"],
      rows: [bandwidth({ name: "512 MiB to another node, warm, over TLS", limit: "tcp-copy", goals: [] })],
    },
    {
      name: "cluster-transfer-4",
      full: sizes({ count: 4, bytes: OBJECT_BYTES }),
      quick: sizes({ count: 2, bytes: QUICK_BYTES }),
      on: ["mobula", "ray"],
      rows: [duration({ name: "512 MiB to 4 nodes, warm", goals: [ratio(2)] })],
    },
  ),
  session(
    "cluster-tasks",
    {
      name: "cluster-tasks",
      full: sizes({ seconds: 2, count: 1000 }),
      // Of nodes, since a workload has no other size to say it by.
      quick: sizes({ seconds: 0.02, count: 10, bytes: 2 }),
      on: ["mobula", "ray"],
      rows: [rate({ name: "no-op tasks over 5 nodes", goals: [ratio(40)] })],
    },
    {
      name: "cluster-tasks-spread",
      full: sizes({ seconds: 2, count: 1000 }),
      quick: sizes({ seconds: 0.02, count: 10, bytes: 2 }),
      on: ["mobula", "ray"],
      rows: [rate({ name: "no-op tasks over 5 nodes, spread", goals: [ratio(25)] })],
    },
  ),
  session(
    "cluster-groups",
    {
      name: "cluster-groups-many",
      full: sizes({ seconds: 2, count: 100 }),
      // Of nodes, as above.
      quick: sizes({ seconds: 0.02, count: 3, bytes: 2 }),
      on: ["mobula", "ray"],
      rows: [
        rate({ name: "placement groups of one bundle (create, ready, remove), 100 in flight", goals: [ratio(10)] }),
      ],
    },
    {
      name: "cluster-groups-one",
      full: sizes({ seconds: 2, count: 1 }),
      quick: sizes({ seconds: 0.02, count: 1, bytes: 2 }),
      on: ["mobula", "ray"],
      rows: [
        rate({ name: "placement groups of one bundle (create, ready, remove), one at a time", goals: [ratio(5)] }),
      ],
    },
    {
      name: "cluster-groups-spread",
      full: sizes({ seconds: 2, count: 100 }),
      quick: sizes({ seconds: 0.02, count: 3, bytes: 2 }),
      on: ["mobula", "ray"],
      rows: [
        rate({
          name: "placement groups of 4 bundles spread over 5 nodes (create, ready, remove), 100 in flight",
          goals: [ratio(10)],
        }),
      ],
    },
  ),
  session(
    "cluster-failures",
    {
      name: "cluster-death",
      full: sizes({}),
      quick: sizes({}),
      on: ["mobula", "ray"],
      rows: [atMostSeconds({ name: "a killed node is known dead" }, 5)],
    },
    {
      name: "cluster-restart",
      full: sizes({ count: 2 }),
      quick: sizes({ count: 1 }),
      // Nodes of Ray end with their head, unless it has a Redis.
      on: ["mobula"],
      rows: [atMostSeconds({ name: "a killed head is started again: until a new actor has answered" }, 2)],
    },
    {
      name: "cluster-rebuild",
      full: sizes({ count: 50, bytes: 2 ** 20 }),
      quick: sizes({ count: 3, bytes: 2 ** 20 }),
      on: ["mobula", "ray"],
      rows: [atMostSeconds({ name: "50 lost objects of 1 MiB made again" }, 0.5)],
    },
  ),
];
