import type { Server } from "node:net";

interface WithListenHere {
  _listen2?(address: string, port: number, family: number): void;
}

/**
 * `server.listen` loads `node:cluster` and all that it needs, to ask whether this is one of its processes, which a
 * process of the runtime is not. What comes after that question has a name too.
 *
 * @param family 4 or 6 for an address, -1 for a path (and port -1).
 */
export function listenHere(server: Server, address: string, port: number, family: number): void {
  const { _listen2: listen } = server as Server & WithListenHere;
  if (listen) listen.call(server, address, port, family);
  else if (family < 0) server.listen(address);
  else server.listen(port, address);
}
