/** A line of a log as nodes write it: `time job pid stream task actor name: text`. */
export interface LogLine {
  readonly atMs: number;
  readonly pid: string;
  readonly isError: boolean;
  /** Of the function or actor; empty: of none. */
  readonly name: string;
  readonly text: string;
}

const LINE = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) \S+ (\d+) (stdout|stderr) (?:[0-9a-f]{32,} )*(.*?): (.*)$/;

/** Undefined for what is not of that form: the output of other programs. */
export function parseLogLine(line: string): LogLine | undefined {
  const [, time, pid, stream, name, text] = LINE.exec(line) ?? [];
  if (time === undefined || pid === undefined || text === undefined) return undefined;
  return { atMs: Date.parse(time), pid, isError: stream === "stderr", name: name === "-" ? "" : (name ?? ""), text };
}
