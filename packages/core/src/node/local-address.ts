import { connectTcp } from "../transport/mod.ts";

/** The address by which this machine reaches a head, and others can reach it. */
export async function localAddressTowards(head: string): Promise<string> {
  const socket = await connectTcp(head);
  const { localAddress: address = "127.0.0.1" } = socket;
  socket.destroy();
  return address;
}
