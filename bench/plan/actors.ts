import {
  atMost,
  duration,
  memoryEach,
  type PlannedWorkload,
  type Row,
  rate,
  ratio,
  type Session,
  sizes,
  totalMemory,
} from "./plan.ts";

const calls = (name: string, count: number, row: Row): PlannedWorkload => ({
  name,
  full: sizes({ seconds: 2, count }),
  quick: sizes({ seconds: 0.02, count: Math.min(count, 50) }),
  on: ["mobula", "ray"],
  rows: [row],
});

export const actorSessions: readonly Session[] = [
  {
    name: "actor-calls",
    workloads: [
      calls("actor-sync", 100, rate({ name: "1:1 actor calls, sync", limit: "socket-sync", goals: [ratio(9)] })),
      calls("actor-async", 1000, rate({ name: "1:1 actor calls, async", limit: "socket-async", goals: [ratio(35)] })),
      calls(
        "actor-concurrent",
        1000,
        rate({ name: "1:1 actor calls, concurrent", limit: "socket-async", goals: [ratio(25)] }),
      ),
      calls(
        "async-actor-sync",
        100,
        rate({ name: "1:1 async-actor calls, sync", limit: "socket-sync", goals: [ratio(12)] }),
      ),
      calls(
        "async-actor-async",
        1000,
        rate({ name: "1:1 async-actor calls, async", limit: "socket-async", goals: [ratio(50)] }),
      ),
      calls("actors-n-n", 5000, rate({ name: "n:n actor calls, async", limit: "socket-async", goals: [ratio(30)] })),
      calls(
        "actors-n-n-ref",
        1000,
        rate({ name: "n:n actor calls with a ref argument", limit: "socket-async", goals: [ratio(20)] }),
      ),
    ],
  },
  {
    name: "process-actors",
    workloads: [
      {
        name: "process-actors",
        full: sizes({ count: 50 }),
        quick: sizes({ count: 2 }),
        on: ["mobula", "ray"],
        roundsMax: 3,
        observe: "processes",
        rows: [
          duration({ name: "50 actors, a process each: start", limit: "process-start-50", goals: [ratio(9)] }),
          memoryEach({ name: "50 actors, a process each: memory each (PSS)", goals: [atMost(20)] }),
        ],
      },
    ],
  },
  {
    name: "shared-actors",
    workloads: [
      {
        name: "shared-actors",
        full: sizes({ count: 10_000 }),
        quick: sizes({ count: 50 }),
        // Ray has no actors that share a process.
        on: ["mobula"],
        observe: "processes",
        rows: [
          duration({ name: "10,000 shared actors: created and called once", goals: [atMost(0.8)] }),
          totalMemory({ name: "10,000 shared actors: all processes (PSS)", goals: [atMost(220)] }),
        ],
      },
    ],
  },
  {
    name: "idle",
    workloads: [
      {
        name: "idle",
        full: sizes({ count: 20 }),
        quick: sizes({ count: 4 }),
        on: ["mobula", "ray"],
        roundsMax: 3,
        observe: "processes",
        rows: [totalMemory({ name: "idle, embedded: all processes (PSS)", goals: [atMost(120)] })],
      },
    ],
  },
];
