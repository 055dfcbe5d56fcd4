/**
 * What Node.js prints of its inspector on a worker's stderr, taken out: people get the lines of their programs. The first of
 * these lines is the only place where the inspector's address is told, which nobody can guess.
 */

const LISTENING = /Debugger listening on (ws:\/\/[^\s/]+\/[0-9a-f-]{36})\n/;
const NOTICES =
  /Debugger listening on ws:\/\/\S+\n|For help, see: https:\/\/nodejs\.org\/\S*debug\S*\n|Debugger attached\.\n|Debugger ending on ws:\/\/\S+\n|Waiting for the debugger to disconnect\.\.\.\n/g;
const BEGINNINGS = ["Debugger ", "For help, see: https://nodejs.org/", "Waiting for the debugger to disconnect"];
/** A notice whose end has not come within so many bytes is none. */
const NOTICE_BYTES_MAX = 200;

export class InspectorNotices {
  private held = "";
  /** The inspector listens there. */
  onListening: ((url: string) => void) | undefined;

  /** What of it is the program's. What may be the beginning of a notice is kept until more comes: lines are whole only then. */
  push(chunk: Buffer): Buffer {
    const text = this.held + chunk.toString("latin1");
    const url = LISTENING.exec(text)?.[1];
    const rest = text.replaceAll(NOTICES, "");
    const at = startOfNotice(rest);
    this.held = rest.slice(at);
    if (url !== undefined) this.onListening?.(url);
    return Buffer.from(rest.slice(0, at), "latin1");
  }

  /** Nothing more comes. */
  finish(): Buffer {
    const { held } = this;
    this.held = "";
    return Buffer.from(held, "latin1");
  }
}

function startOfNotice(text: string): number {
  for (const beginning of BEGINNINGS) {
    const at = text.lastIndexOf(beginning);
    if (at >= 0 && !text.includes("\n", at) && text.length - at < NOTICE_BYTES_MAX) return at;
    for (let length = beginning.length - 1; length > 0; length--)
      if (text.endsWith(beginning.slice(0, length))) return text.length - length;
  }
  return text.length;
}
