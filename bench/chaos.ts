/** The load of `npm run soak` for five minutes (or `--seconds`) while workers are killed at random: `npm run chaos`. */
import { loadCommand } from "./load/command.ts";

await loadCommand({ name: "chaos", withKills: true, seconds: 300 });
