/**
 * Tags what a worker prints with the name of what runs, in band, so that the node can tell lines apart. The tag is
 * written only before the first output under a new name: a task that prints nothing costs nothing.
 */

let current = "";
let written = { stdout: "", stderr: "" };

const mark = (name: string): string => `\x1b]mobula;${name.replaceAll(/\p{Cc}/gu, " ")}\x07`;

export function tagOutput(name: string): void {
  current = name;
}

/** Call once, before user code runs. */
export function installOutputTags(): void {
  written = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    const stream = process[name];
    const write = stream.write.bind(stream) as typeof stream.write;
    stream.write = ((...args: Parameters<typeof stream.write>) => {
      if (written[name] !== current) {
        written[name] = current;
        write(mark(current));
      }
      return write(...args);
    }) as typeof stream.write;
  }
}
