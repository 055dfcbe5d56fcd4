/** Ray's own command line and Python SDK, unmodified, against Mobula and a real Ray: one of each for all that they are tried on. */
import { afterAll, beforeAll } from "vitest";
// What counts jobs comes before what submits some.
import "./state.ts";
import "./logs.ts";
import "./jobs.ts";
import { hasRay, START_MS, startSides, stopSides } from "./sides.ts";

beforeAll(async () => {
  if (hasRay) await startSides();
}, 2 * START_MS);
afterAll(stopSides, 60_000);
