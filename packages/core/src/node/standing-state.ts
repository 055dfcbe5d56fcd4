/** Loaded by standing nodes only; by its name, so that a node's program does not hold all the other stores there are. */
export { openSqliteState } from "../control/mod.ts";
