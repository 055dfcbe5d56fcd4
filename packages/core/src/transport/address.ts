/** Addresses of TCP listeners as people write them: `host:port`, `[v6]:port`, and ranges of ports. */
import { isIPv6 } from "node:net";
import { networkInterfaces } from "node:os";
import { InvalidOptionError } from "../base/errors.ts";

export interface TcpAddress {
  readonly host: string;
  readonly port: number;
}

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

const PORT_MAX = 65_535;

/**
 * `host:port` or `[v6]:port`; without a port it has the one that is given as default.
 *
 * @throws InvalidOptionError
 */
export function parseAddress(text: string, defaultPort?: number): TcpAddress {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:[\]/\s]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = digits === undefined ? defaultPort : Number(digits);
  if (host === undefined || port === undefined || port > PORT_MAX || (bracketed !== undefined && !isIPv6(bracketed))) {
    throw new InvalidOptionError(`${JSON.stringify(text)} is not an address; write host:port or [IPv6 address]:port`);
  }
  return { host, port };
}

export function formatAddress({ host, port }: TcpAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * A port, or `"20000-20100"`; 0 is any that is free.
 *
 * @throws InvalidOptionError
 */
export function parsePorts(ports: number | string): PortRange {
  const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(`${ports}`) ?? [];
  const range = { first: Number(first), last: Number(last) };
  if (first === undefined || range.last > PORT_MAX || range.first > range.last) {
    throw new InvalidOptionError(
      `${JSON.stringify(ports)} is not a port; write a number, or a range such as "20000-20100"`,
    );
  }
  return range;
}

/** Where others reach a listener: what its user says, else its host, else the machine's first address. */
export function advertisedAddress(bound: TcpAddress, advertise: string | undefined): string {
  if (advertise !== undefined) return formatAddress(parseAdvertised(advertise, bound.port));
  if (bound.host !== "0.0.0.0" && bound.host !== "::") return formatAddress(bound);
  return formatAddress({ host: machineAddress(bound.host), port: bound.port });
}

/** What its user says of where others reach a listener: as an address, or an IPv6 address without brackets. */
export const parseAdvertised = (text: string, defaultPort: number): TcpAddress =>
  parseAddress(isIPv6(text) ? `[${text}]` : text, defaultPort);

/** The first address of this machine at which others reach what listens at all of them. */
export function machineAddress(everywhere: "0.0.0.0" | "::"): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const outer = addresses.filter(({ internal, address }) => !internal && !address.startsWith("fe80:"));
  const best = outer.find(({ family }) => family === "IPv4") ?? (everywhere === "::" ? outer[0] : undefined);
  return best?.address ?? "127.0.0.1";
}
