import { createServer } from "node:net";

const path = process.argv[2];
if (path === undefined) throw new Error("usage: echo-process.ts SOCKET");

createServer((socket) => {
  socket.on("data", (chunk) => socket.write(chunk));
  // The measuring process ends the connection by going away.
  socket.on("error", () => process.exit(0));
  socket.on("close", () => process.exit(0));
}).listen(path, () => process.stdout.write("listening\n"));
