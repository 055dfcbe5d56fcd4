/**
 * A network between processes of one machine, for tests: connections to other machines pass through a process that can hold
 * them up. A dialler connects to its socket and says in a line who it is and where it wants to go; what follows goes there. So a
 * connection seems to be made also where none can be, and then ends, or hears nothing.
 */
import { connect, type OnReadOpts, type Socket } from "node:net";

/** `path name`: the network's socket, and what this process is called there. */
export const NETWORK_VARIABLE = "MOBULA_TEST_NETWORK";

let given = process.env[NETWORK_VARIABLE];

/** For a thread whose process is not in the network. */
export function useNetwork(network: string | undefined): void {
  given = network;
}

export const isInNetwork = (): boolean => given !== undefined && given !== "";

/** A connection to the network, which is on its way to `address`; undefined when there is no network. */
export function connectToNetwork(address: string, options: { readonly onread?: OnReadOpts } = {}): Socket | undefined {
  if (!given) return undefined;
  const [path = "", name = ""] = given.split(" ");
  const socket = connect({ path, ...options });
  socket.write(`${name} ${address}\n`);
  return socket;
}
