/**
 * Tags what a worker prints with the name and ids of what runs, in band, so that the node can tell lines apart. The tag
 * is written only before the first output of something else: a task that prints nothing costs nothing.
 */
import { InternalError } from "../base/errors.ts";
import { currentExecution } from "../client/mod.ts";
import { shielded } from "./guard.ts";
import { Running } from "./running.ts";

let current = "";
const made = new Set<NodeJS.WriteStream>();

/** See node/log-lines.ts. */
function mark(writer: Running | string): string {
  const name = (typeof writer === "string" ? writer : writer.name).replaceAll(/\p{Cc}/gu, " ");
  const ids =
    typeof writer === "string" ? [] : [writer.taskId, ...(writer.actorId === undefined ? [] : [writer.actorId])];
  return `\x1b]mobula;${[name, ...ids].join("\x1f")}\x07`;
}

export function tagOutput(name: string): void {
  current = name;
}

/** Call once, before user code runs. The streams are made when somebody prints: that takes a millisecond each. */
export function installOutputTags(): void {
  for (const name of ["stdout", "stderr"] as const) {
    const own = Object.getOwnPropertyDescriptor(process, name);
    if (!own?.get) throw new InternalError(`this Node.js has no getter of process.${name}`);
    const make = own.get.bind(process) as () => NodeJS.WriteStream;
    let stream: NodeJS.WriteStream | undefined;
    Object.defineProperty(process, name, {
      configurable: true,
      enumerable: true,
      get: () => {
        stream ??= tagged(make());
        return stream;
      },
    });
  }
}

function tagged(stream: NodeJS.WriteStream): NodeJS.WriteStream {
  let writer: Running | string = "";
  let written = mark(writer);
  const write = stream.write.bind(stream) as typeof stream.write;
  // A cancel that broke off a write would leave the stream in it, and nothing would be printed any more.
  stream.write = ((...args: Parameters<typeof stream.write>) =>
    shielded(() => {
      const execution = currentExecution();
      // What writes outside of any execution, a timer of a module for one, is most likely there for what started last.
      const next = execution instanceof Running ? execution : current;
      if (next !== writer) {
        writer = next;
        const tag = mark(writer);
        if (tag !== written) write(tag);
        written = tag;
      }
      return write(...args);
    })) as typeof stream.write;
  made.add(stream);
  return stream;
}

/** Calls back when everything that was printed has left. */
export function whenPrinted(then: () => void): void {
  let open = made.size;
  if (open === 0) then();
  for (const stream of made) stream.write("", () => --open === 0 && then());
}
