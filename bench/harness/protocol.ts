/**
 * How the harness drives a side (Mobula, a peer, or the machine's limits): one JSON request a line on the side's
 * stdin, one JSON reply a line on its file descriptor 3. Stdout and stderr stay free for whatever the side prints.
 */
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";

/** How much work a run does. Fields a workload has no use for are 0. */
export interface Sizes {
  /** Shortest measured time of a workload that repeats, in seconds. */
  readonly seconds: number;
  /** Tasks, calls, items, refs or actors. */
  readonly count: number;
  /** Bytes of one value. */
  readonly bytes: number;
}

export interface OpenOptions {
  readonly cpus: number;
  readonly storeBytes: number;
}

export interface Measurement {
  /** Time of the measured part only, in seconds. */
  readonly seconds: number;
  /** Operations that ran in it, as counted from what came back. */
  readonly count: number;
  /** Payload bytes moved in it. */
  readonly bytes: number;
}

export type Request =
  | { readonly op: "open"; readonly options: OpenOptions }
  | { readonly op: "run"; readonly workload: string; readonly sizes: Sizes; readonly options: OpenOptions }
  /** Lets go of what the last run left alive for the harness to look at. */
  | { readonly op: "cleanup" }
  | { readonly op: "close" };

export type Reply =
  | { readonly ok: true; readonly measurement?: Measurement }
  | { readonly ok: false; readonly error: string };

export interface Outcome extends Measurement {
  /** Runs when the harness has looked at the processes and their memory. */
  readonly cleanup?: () => Promise<void>;
}

export type Workload = (sizes: Sizes, options: OpenOptions) => Promise<Outcome>;

export interface SideProgram {
  open(options: OpenOptions): Promise<void>;
  close(): Promise<void>;
  readonly workloads: Readonly<Record<string, Workload>>;
}

const REPLY_FD = 3;

/** Serves requests until "close" or the end of stdin; a failed workload is reported and the side goes on. */
export async function serve(program: SideProgram): Promise<void> {
  let cleanup: (() => Promise<void>) | undefined;
  const handle = async (request: Request): Promise<Measurement | undefined> => {
    switch (request.op) {
      case "open":
        await program.open(request.options);
        return undefined;
      case "run": {
        const workload = program.workloads[request.workload];
        if (workload === undefined) throw new Error(`this side has no workload "${request.workload}"`);
        const outcome = await workload(request.sizes, request.options);
        cleanup = outcome.cleanup;
        return { seconds: outcome.seconds, count: outcome.count, bytes: outcome.bytes };
      }
      case "cleanup":
        await cleanup?.();
        cleanup = undefined;
        return undefined;
      case "close":
        await program.close();
        return undefined;
    }
  };
  for await (const line of createInterface({ input: process.stdin })) {
    // The harness is the only writer of this pipe and writes nothing but requests.
    const request = JSON.parse(line) as Request;
    let reply: Reply;
    try {
      const measurement = await handle(request);
      reply = measurement === undefined ? { ok: true } : { ok: true, measurement };
    } catch (error) {
      reply = { ok: false, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
    }
    writeSync(REPLY_FD, `${JSON.stringify(reply)}\n`);
    if (request.op === "close") return;
  }
}
