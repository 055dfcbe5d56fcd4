/**
 * The load of `npm run soak` for a quarter of an hour (or `--seconds`) on a cluster of this machine, while workers are killed all
 * the time, and nodes, the head and links fail: `npm run chaos`. With `--nodes 0` without a cluster, and only workers are killed.
 * What the engines of nodes and heads were told is recorded, and told them again afterwards: they have to give the same commands.
 */
import { loadCommand } from "./load/command.ts";

await loadCommand({ name: "chaos", killsPerOperation: 0.2, seconds: 900, nodes: 4, isRecorded: true });
