import { atMost, driverMemoryEach, duration, latency, ofLimit, rate, ratio, type Session, sizes } from "./plan.ts";

const MILLION_TIMEOUT_MS = 300_000;

export const taskSessions: readonly Session[] = [
  {
    name: "start",
    opens: false,
    workloads: [
      {
        name: "start",
        full: sizes({}),
        quick: sizes({}),
        on: ["mobula", "ray", "piscina"],
        rows: [duration({ name: "start: init and first task result", limit: "process-start", goals: [ratio(12)] })],
      },
    ],
  },
  {
    name: "tasks",
    workloads: [
      {
        name: "tasks-sync",
        full: sizes({ seconds: 2, count: 100 }),
        quick: sizes({ seconds: 0.02, count: 10 }),
        on: ["mobula", "ray", "piscina"],
        rows: [rate({ name: "tasks, sync", limit: "socket-sync", goals: [ratio(12), ofLimit(0.4)] })],
      },
      {
        name: "tasks-async",
        full: sizes({ seconds: 2, count: 1000 }),
        quick: sizes({ seconds: 0.02, count: 100 }),
        on: ["mobula", "ray", "piscina"],
        rows: [
          rate({ name: "tasks, async (1000 submitted, one get)", limit: "socket-async", goals: [ratio(60)] }),
          {
            name: "tasks, batch of 1000",
            unit: "1/s",
            better: "higher",
            read: (seen) => seen.count / 1000 / seen.seconds,
            limit: "socket-async",
            goals: [ratio(60)],
          },
        ],
      },
      {
        name: "tasks-multi-client",
        full: sizes({ seconds: 2, count: 10_000 }),
        quick: sizes({ seconds: 0.02, count: 50 }),
        on: ["mobula", "ray"],
        roundsMax: 3,
        rows: [rate({ name: "tasks, async, 4 clients of 10,000", limit: "socket-async", goals: [ratio(60)] })],
      },
      {
        name: "wait",
        full: sizes({ seconds: 2, count: 1000 }),
        quick: sizes({ seconds: 0.02, count: 50 }),
        on: ["mobula", "ray"],
        rows: [rate({ name: "wait on 1,000 refs, one at a time", goals: [ratio(30)] })],
      },
      {
        name: "ref-arguments",
        full: sizes({ count: 10_000 }),
        quick: sizes({ count: 100 }),
        on: ["mobula", "ray"],
        rows: [duration({ name: "10,000 refs as arguments of one task", goals: [ratio(8)] })],
      },
      {
        name: "many-returns",
        full: sizes({ count: 3000 }),
        quick: sizes({ count: 100 }),
        on: ["mobula", "ray"],
        rows: [latency({ name: "3,000 returns of one task", goals: [ratio(3)] })],
      },
      {
        name: "stream",
        full: sizes({ count: 10_000 }),
        quick: sizes({ count: 100 }),
        on: ["mobula", "ray"],
        rows: [duration({ name: "stream of 10,000 items", goals: [ratio(15)] })],
      },
    ],
  },
  {
    name: "nested",
    workloads: [
      {
        name: "nested",
        full: sizes({ count: 20 }),
        quick: sizes({ count: 3 }),
        on: ["mobula", "ray"],
        roundsMax: 3,
        rows: [duration({ name: "20 levels of nested tasks, first time", goals: [ratio(9)] })],
      },
    ],
  },
  {
    name: "queued",
    workloads: [
      {
        name: "queued",
        full: sizes({ count: 100_000 }),
        quick: sizes({ count: 1000 }),
        on: ["mobula", "ray", "piscina"],
        roundsMax: 3,
        timeoutMs: MILLION_TIMEOUT_MS,
        rows: [duration({ name: "100,000 tasks queued, then done", goals: [ratio(50)] })],
      },
    ],
  },
  {
    name: "queued-million",
    workloads: [
      {
        name: "queued",
        full: sizes({ count: 1_000_000 }),
        quick: sizes({ count: 2000 }),
        // Ray takes eight minutes for a million, and its memory is not what the goal is about.
        on: ["mobula", "piscina"],
        roundsMax: 3,
        observe: "driver",
        timeoutMs: MILLION_TIMEOUT_MS,
        rows: [
          duration({ name: "1,000,000 tasks queued, then done", goals: [atMost(12)] }),
          driverMemoryEach({ name: "1,000,000 tasks queued: driver memory each", goals: [atMost(1024)] }),
        ],
      },
    ],
  },
];
