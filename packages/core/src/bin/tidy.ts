/** Removes what a node left that was killed together with its launcher: started by the node's reaper, see node/reaper.ts. */
import { InvalidOptionError } from "../base/errors.ts";
import { removeSession } from "../node/mod.ts";
import { runEntry } from "./entries.ts";

runEntry(() => {
  const path = process.argv[2];
  if (path === undefined) throw new InvalidOptionError("tidy takes the folder of a node's run");
  removeSession(path);
});
