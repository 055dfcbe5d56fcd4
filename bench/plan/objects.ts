import { atMost, bandwidth, latency, ofLimit, rate, ratio, type Session, sizes } from "./plan.ts";

const LARGE_BYTES = 800_000_000;
const QUICK_BYTES = 1_000_000;

export const objectSessions: readonly Session[] = [
  {
    name: "small-objects",
    workloads: [
      {
        name: "put-small",
        full: sizes({ seconds: 2, count: 1000 }),
        quick: sizes({ seconds: 0.02, count: 100 }),
        on: ["mobula", "ray"],
        rows: [rate({ name: "put of a small value", goals: [ratio(150)] })],
      },
      {
        name: "get-small",
        full: sizes({ seconds: 2, count: 1000 }),
        quick: sizes({ seconds: 0.02, count: 100 }),
        on: ["mobula", "ray"],
        rows: [rate({ name: "get of a small value", goals: [ratio(60)] })],
      },
      {
        name: "get-containing-refs",
        full: sizes({ seconds: 2, count: 10_000 }),
        quick: sizes({ seconds: 0.02, count: 100 }),
        on: ["mobula", "ray"],
        rows: [rate({ name: "get an object holding 10,000 refs", goals: [ratio(10)] })],
      },
    ],
  },
  {
    name: "large-objects",
    workloads: [
      {
        // First in its session: the store has never been written to.
        name: "put-cold",
        full: sizes({ bytes: LARGE_BYTES }),
        quick: sizes({ bytes: QUICK_BYTES }),
        on: ["mobula", "ray"],
        rows: [bandwidth({ name: "put 800 MB, cold store", limit: "write-fresh", goals: [ratio(1), ofLimit(0.9)] })],
      },
      {
        name: "put-warm",
        full: sizes({ count: 9, bytes: LARGE_BYTES }),
        quick: sizes({ count: 2, bytes: QUICK_BYTES }),
        on: ["mobula", "ray"],
        rows: [bandwidth({ name: "put 800 MB, warm store", limit: "memcpy-2", goals: [ratio(1), ofLimit(0.9)] })],
      },
      {
        name: "get-large-driver",
        full: sizes({ count: 5, bytes: LARGE_BYTES }),
        quick: sizes({ count: 2, bytes: QUICK_BYTES }),
        on: ["mobula", "ray"],
        rows: [latency({ name: "get of an 800 MB array, in the driver", goals: [atMost(2)] })],
      },
      {
        name: "get-large-worker",
        full: sizes({ count: 5, bytes: LARGE_BYTES }),
        quick: sizes({ count: 2, bytes: QUICK_BYTES }),
        on: ["mobula", "ray"],
        rows: [latency({ name: "get of an 800 MB array, in a worker", goals: [atMost(0.3)] })],
      },
      {
        name: "create-in-place",
        full: sizes({ count: 4, bytes: LARGE_BYTES }),
        quick: sizes({ count: 2, bytes: QUICK_BYTES }),
        // Ray has no public way to fill an object inside the store.
        on: ["mobula"],
        rows: [
          bandwidth({
            // Only making room and sealing is timed: without a copy this is many times a copy's rate.
            name: "create 800 MB in place (create and seal)",
            limit: "memcpy-1",
            goals: [ofLimit(10)],
          }),
        ],
      },
    ],
  },
  {
    name: "put-four-processes",
    workloads: [
      {
        name: "put-four-processes",
        full: sizes({ count: 10, bytes: LARGE_BYTES / 10 }),
        quick: sizes({ count: 2, bytes: QUICK_BYTES }),
        on: ["mobula", "ray"],
        rows: [
          bandwidth({
            name: "put 10 × 80 MB by four processes at once",
            limit: "memcpy-2",
            goals: [ratio(1), ofLimit(0.9)],
          }),
        ],
      },
    ],
  },
];
