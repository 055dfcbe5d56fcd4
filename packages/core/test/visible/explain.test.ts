/** `explain` and the message of a `get` that timed out give the real reason, with numbers. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Ran, runProgram } from "./run-program.ts";

describe("explain", () => {
  let ran: Ran;
  beforeAll(async () => {
    ran = await runProgram("explanations");
    expect(ran.code, ran.err.join("\n")).toBe(0);
  });

  /** The state and the sentences as one text. */
  const said = (name: string): string => {
    const explanation = (ran.told.said as Record<string, { state: string; sentences: string[] }>)[name];
    return `${explanation?.state}: ${explanation?.sentences.join(" ")}`;
  };

  test.each([
    ["computing", /^running: spinning was sent to worker \w+ \(pid (\d+)\) \d\.\d s ago.* Process \1 is computing\./],
    ["sleeping", /^running: napping was sent .* is not computing: it waits for a timer/],
    ["arguments", /^waiting-for-arguments: add waits for 1 of its 1 argument.* napping was sent to worker/],
    [
      "queued",
      /^queued: later waits for a worker since \d\.\d s.* 0 of 2 cpu are free\..*(spinning|napping|later) of job \w+ holds 2 of them/,
    ],
    ["pendingActor", /^pending: Barrier\.meet has not been sent.* [01] of 2 cpu are free\..* holds/],
    ["ready", /^ready: It is ready, inline \(\d+ bytes\)\. napping ran 1\.\d s in worker process \d+; before that/],
    [
      "infeasible",
      /^queued: huge waits .* needs \{ cpu: 64 \}, and no node can ever offer that; .*of cpu it has 2, not 64/,
    ],
    ["failed", /^failed: It failed: TASK_FAILED: failing failed .*too far/],
    ["behind", /^queued: Slow\.nap was sent to worker .*which runs 1 at a time.*waits there behind 1 call; Slow\.nap/],
    ["actor", /^alive: Actor Slow \(\w+\) is alive; .*2 sent to it, the oldest \(Slow\.nap\) since/],
    ["stopped", /^running: Slow\.nap .* is stopped by a signal \(SIGSTOP\) or a debugger: .*kill -CONT/],
    ["stream", /^running: .* It has made 17 items, of which 0 were taken; it pauses/],
    ["nested", /^running: outer .* outer itself waits for task:/],
    ["released", /^released: This process released the ref/],
  ])("%s", (name, words) => {
    expect(said(name)).toMatch(words);
  });

  test("a get that timed out quotes it", () => {
    expect(ran.told.timeout).toMatch(
      /^get\(\) waited 20 ms for 1 of 1 refs; .*later waits for a worker.*0 of 2 cpu are free/,
    );
  });
});
