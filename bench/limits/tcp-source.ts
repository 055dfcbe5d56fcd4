/** Sends so many bytes to whoever connects; says at which port. */
import { type AddressInfo, createServer } from "node:net";

const CHUNK_BYTES = 4 * 2 ** 20;
const source = new Uint8Array(Number(process.argv[2])).fill(7);
const server = createServer((socket) => {
  let at = 0;
  const next = (): void => {
    if (at >= source.length) return;
    const chunk = source.subarray(at, at + CHUNK_BYTES);
    at += chunk.length;
    socket.write(chunk, next);
  };
  // The reader leaves when it has everything.
  socket.on("error", () => {});
  next();
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`${(server.address() as AddressInfo).port}`));
