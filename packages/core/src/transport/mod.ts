export { parseAddress, parsePorts } from "./address.ts";
export {
  checkVersion,
  type GreetOptions,
  greet,
  type Hello as TcpHello,
  introduce,
  refusal,
} from "./handshake.ts";
export { MemoryPeer } from "./memory.ts";
export { type Peer, type PeerHandlers, SocketPeer } from "./peer.ts";
export { Strangers } from "./strangers.ts";
export { connectTcp, listenTcp, type TcpListener, type TcpListenOptions } from "./tcp.ts";
export { Tls } from "./tls.ts";
export { connectUnix, listenUnix } from "./unix.ts";
