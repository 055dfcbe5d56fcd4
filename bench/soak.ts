/**
 * A mixed load for ten minutes (or `--seconds`), every result checked, while now and then a worker is killed; then
 * nothing may be left: `npm run soak`.
 */
import { loadCommand } from "./load/command.ts";

await loadCommand({ name: "soak", killsPerOperation: 0.02, seconds: 600, nodes: 0 });
