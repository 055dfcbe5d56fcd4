/**
 * Machines with networks of their own: each in a network namespace, joined by a bridge in another. A link that is down passes
 * nothing and says nothing, as a network that is cut does. Needs root, Linux, and the commands of iproute2.
 */
import { execFileSync } from "node:child_process";

export class Namespaces {
  private readonly prefix = `mob${process.pid}`;
  private readonly count: number;

  /** Why there can be none here; undefined when there can. */
  static obstacle(): string | undefined {
    try {
      new Namespaces(1).remove();
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  constructor(count: number) {
    this.count = count;
    try {
      this.ip("netns", "add", this.bridge);
      this.within(this.bridge, "link", "add", "bridge0", "type", "bridge");
      this.within(this.bridge, "link", "set", "bridge0", "up");
      for (let at = 0; at < count; at++) this.add(at);
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  address(at: number): string {
    return `10.77.0.${at + 1}`;
  }

  /** What a command of the machine is run by. */
  command(at: number): readonly string[] {
    return ["ip", "netns", "exec", this.name(at)];
  }

  /** Nothing reaches the machine, nor comes from it. */
  cut(at: number): void {
    this.within(this.bridge, "link", "set", `port${at}`, "down");
  }

  heal(at: number): void {
    this.within(this.bridge, "link", "set", `port${at}`, "up");
  }

  /** Passes so many bits a second each way, and drops what does not fit. Until {@link widen}. */
  narrow(at: number, bitsPerSecond: number): void {
    const queue = ["root", "tbf", "rate", `${bitsPerSecond}`, "burst", "8000", "limit", "30000"];
    this.traffic(this.bridge, "add", "dev", `port${at}`, ...queue);
    this.traffic(this.name(at), "add", "dev", "eth0", ...queue);
  }

  /** Lets netem loose on the machine's link, each way; see its manual for the rules. Until {@link widen}. */
  impair(at: number, ...rules: string[]): void {
    this.traffic(this.bridge, "add", "dev", `port${at}`, "root", "netem", ...rules);
    this.traffic(this.name(at), "add", "dev", "eth0", "root", "netem", ...rules);
  }

  widen(at: number): void {
    this.traffic(this.bridge, "del", "dev", `port${at}`, "root");
    this.traffic(this.name(at), "del", "dev", "eth0", "root");
  }

  /** Packets on the way to it that got through, and that were dropped or did not fit. */
  passed(at: number): { readonly sent: number; readonly dropped: number } {
    const shown = execFileSync("tc", ["-n", this.bridge, "-s", "qdisc", "show", "dev", `port${at}`], {
      encoding: "utf8",
    });
    const [, sent, dropped] = /Sent \d+ bytes (\d+) pkt \(dropped (\d+)/.exec(shown) ?? [];
    return { sent: Number(sent), dropped: Number(dropped) };
  }

  remove(): void {
    for (const name of [...Array.from({ length: this.count }, (_, at) => this.name(at)), this.bridge]) {
      try {
        this.ip("netns", "del", name);
      } catch (error) {
        if (!/No such file/.test((error as Error).message)) throw error;
      }
    }
  }

  private add(at: number): void {
    const name = this.name(at);
    this.ip("netns", "add", name);
    this.within(this.bridge, "link", "add", `port${at}`, "type", "veth", "peer", "name", "eth0", "netns", name);
    this.within(this.bridge, "link", "set", `port${at}`, "master", "bridge0", "up");
    this.within(name, "addr", "add", `${this.address(at)}/24`, "dev", "eth0");
    for (const device of ["eth0", "lo"]) this.within(name, "link", "set", device, "up");
  }

  private get bridge(): string {
    return `${this.prefix}b`;
  }

  private name(at: number): string {
    return `${this.prefix}n${at}`;
  }

  private within(namespace: string, ...args: string[]): void {
    this.ip("-n", namespace, ...args);
  }

  private traffic(namespace: string, ...args: string[]): void {
    execFileSync("tc", ["-n", namespace, "qdisc", ...args], { stdio: "pipe" });
  }

  private ip(...args: string[]): void {
    execFileSync("ip", args, { stdio: "pipe" });
  }
}
