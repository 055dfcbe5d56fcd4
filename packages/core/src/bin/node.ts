/** The node process of one machine: started by `init()` or by `mobula start`, with its configuration in MOBULA_NODE. */
import { runNode } from "../node/mod.ts";
import { runEntry } from "./entries.ts";

runEntry(() => runNode());
