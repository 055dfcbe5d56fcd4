export { listenPeers } from "./accept.ts";
export { Access, openTls, readTokens, TOKEN_CHARS_MIN } from "./access.ts";
export { machineAddress, parseAddress, parseAdvertised, parsePorts } from "./address.ts";
export {
  BULK_ROLE,
  BULK_SOURCE_ROLE,
  type BulkConnection,
  type BulkReader,
  bulkFrom,
  dialBulk,
  offerBulk,
} from "./bulk.ts";
export { dialPeer } from "./dial.ts";
export {
  type GreetOptions,
  greet,
  type Hello as TcpHello,
  introduce,
  refusal,
} from "./handshake.ts";
export { HeadAddresses } from "./head-addresses.ts";
export { listenHere } from "./listen-here.ts";
export { MemoryPeer } from "./memory.ts";
export { NETWORK_VARIABLE, useNetwork } from "./network.ts";
export { NotLeadingError } from "./not-leading.ts";
export { type Peer, type PeerHandlers, SocketPeer } from "./peer.ts";
export { ResumablePeer } from "./resumable.ts";
export { Strangers } from "./strangers.ts";
export { connectTcp, isTlsFailure, listenTcp, type TcpListener, type TcpListenOptions } from "./tcp.ts";
export type { Tls } from "./tls.ts";
export { connectUnix, listenUnix } from "./unix.ts";
