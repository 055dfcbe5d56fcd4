/** What the machine itself can do, measured like a side: the figures that no runtime on it can pass. */
import { serve, type Workload } from "../harness/protocol.ts";
import { memcpyOneThread, memcpyTwoThreads, writeFresh } from "./memory.ts";
import { startProcesses } from "./process-start.ts";
import { socketPipelined, socketRoundTrips } from "./socket.ts";
import { tcpCopy } from "./tcp-copy.ts";

const workloads: Record<string, Workload> = {
  "socket-sync": (sizes) => socketRoundTrips(sizes.seconds),
  "socket-async": (sizes) => socketPipelined(sizes.seconds),
  "memcpy-1": (sizes) => memcpyOneThread(sizes.bytes),
  "memcpy-2": (sizes) => memcpyTwoThreads(sizes.bytes),
  "tcp-copy": (sizes) => tcpCopy(sizes.bytes),
  "write-fresh": (sizes) => writeFresh(sizes.bytes),
  "process-start": () => startProcesses(1),
  "process-start-50": (sizes) => startProcesses(sizes.count),
};

await serve({ async open() {}, async close() {}, workloads });
