import { ConnectionLostError } from "../base/errors.ts";
import { connectTcp, HeadAddresses } from "../transport/mod.ts";

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
