export { MemoryPeer } from "./memory.ts";
export { type Peer, type PeerHandlers, SocketPeer } from "./peer.ts";
export { connectUnix, listenUnix } from "./unix.ts";
