/** The heads of a cluster, as `host:port,host:port`: which of them to try, until the one is found that leads. */
import { parseAddress } from "./address.ts";
import { NotLeadingError } from "./not-leading.ts";

export class HeadAddresses {
  private readonly known: string[];
  private at = 0;
  /** The last one that did not answer. */
  private silent: string | undefined;

  /** @throws InvalidOptionError when one of them is no address. */
  constructor(text: string) {
    this.known = text.split(",").map((address) => address.trim());
    for (const address of this.known) parseAddress(address);
  }

  /** The one to try now. */
  get current(): string {
    return this.known[this.at] ?? "";
  }

  get all(): readonly string[] {
    return this.known;
  }

  /** There are these too. */
  add(addresses: readonly string[]): void {
    for (const address of addresses) if (!this.known.includes(address)) this.known.push(address);
  }

  /** That one leads. */
  lead(address: string): void {
    this.add([address]);
    this.at = this.known.indexOf(address);
  }

  /** The current one did not do: the next, or the one that it has named. */
  failed(error: unknown): void {
    const named = error instanceof NotLeadingError ? error.leader : undefined;
    if (!(error instanceof NotLeadingError)) this.silent = this.current;
    // A standby that has not noticed yet names one that is dead.
    if (named !== undefined && named !== this.silent) this.lead(named);
    else {
      if (named !== undefined) this.silent = undefined;
      this.at = (this.at + 1) % this.known.length;
    }
  }
}
