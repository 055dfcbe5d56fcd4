/** The load of `npm run soak` for five minutes (or `--seconds`) while workers are killed all the time: `npm run chaos`. */
import { loadCommand } from "./load/command.ts";

await loadCommand({ name: "chaos", killsPerOperation: 0.4, seconds: 300 });
