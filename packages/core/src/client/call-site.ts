/** Where in the user's program a call was made, for messages about memory. */

const OWN_FILES = /[\\/](?:mobula|core)[\\/](?:src|dist)[\\/]/;

/** `file:line` of the nearest frame outside the runtime; "unknown" when there is none. */
export function callSite(): string {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 12;
  const { stack } = new Error();
  Error.stackTraceLimit = limit;
  for (const line of stack?.split("\n").slice(1) ?? []) {
    const place = /(?:\(|at )((?:file:\/\/)?[^()\s]+:\d+):\d+\)?$/.exec(line)?.[1];
    if (place && !OWN_FILES.test(place) && !place.startsWith("node:")) return place.replace("file://", "");
  }
  return "unknown";
}
