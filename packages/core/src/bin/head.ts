/** The head of a cluster: started by `mobula start --head`, with its configuration in MOBULA_HEAD. */
import { runHead } from "../head/main.ts";
import { runEntry } from "./entries.ts";

runEntry(() => runHead());
