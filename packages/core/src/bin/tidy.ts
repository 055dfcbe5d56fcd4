/** Removes what a node left that was killed and had no launcher, or lost it too: started by the node's reaper, see node/reaper.ts. */
import { InvalidOptionError } from "../base/errors.ts";
import { removeBrokenSession } from "../node/mod.ts";
import { runEntry } from "./entries.ts";

runEntry(() => {
  const path = process.argv[2];
  if (path === undefined) throw new InvalidOptionError("tidy takes the folder of a node's run");
  removeBrokenSession(path);
});
