/** A mixed load for ten minutes (or `--seconds`), every result checked, and then nothing may be left: `npm run soak`. */
import { loadCommand } from "./load/command.ts";

await loadCommand({ name: "soak", withKills: false, seconds: 600 });
