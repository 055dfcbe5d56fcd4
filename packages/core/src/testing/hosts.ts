import { randomBytes } from "../base/random.ts";

/**
 * Addresses of this machine, one for each member of a cluster: on Linux all of 127.0.0.0/8 are its own. Elsewhere only
 * 127.0.0.1 is, and members share it.
 */
export class Hosts {
  private readonly net: string;
  private last = 0;

  constructor() {
    const [a = 0, b = 0] = randomBytes(2);
    this.net = `127.${1 + (a % 250)}.${b}`;
  }

  next(): string {
    this.last++;
    return process.platform === "linux" ? `${this.net}.${this.last}` : "127.0.0.1";
  }
}
