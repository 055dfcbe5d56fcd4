import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { ConnectionLostError } from "../base/errors.ts";
import { connectTcp, HeadAddresses } from "../transport/mod.ts";

/** A UDP socket is bound to a route and no more. */
const ANY_PORT = 9;

/** The address by which this machine reaches a head (of several the first that answers), and others can reach it. */
export async function localAddressTowards(heads: string): Promise<string> {
  let failure: unknown = new ConnectionLostError(`no head answers at ${heads}`);
  for (const head of new HeadAddresses(heads).all) {
    try {
      const socket = await connectTcp(head);
      const { localAddress: address = "127.0.0.1" } = socket;
      socket.destroy();
      return address;
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** The address by which this machine would reach a host; nothing is sent there. */
export async function localAddressOf(host: string): Promise<string> {
  const { address, family } = await lookup(host);
  const socket = createSocket(family === 6 ? "udp6" : "udp4");
  try {
    socket.connect(ANY_PORT, address);
    await once(socket, "connect");
    return socket.address().address;
  } finally {
    socket.close();
  }
}
