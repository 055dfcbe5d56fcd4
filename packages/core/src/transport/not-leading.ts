import { MobulaError } from "../base/errors.ts";

/** What a head says that does not lead. `leader` is who does, if it knows. */
export class NotLeadingError extends MobulaError {
  readonly leader: string | undefined;

  constructor(leader: string | undefined) {
    super(
      "NOT_LEADING",
      "unavailable",
      leader === undefined
        ? "this head does not lead its cluster, and knows of none that does"
        : `this head does not lead its cluster; the one at ${leader} does`,
    );
    this.leader = leader;
  }
}
