/** The program of the state service. */
import { runState } from "../state/main.ts";
import { runEntry } from "./entries.ts";

runEntry(runState);
