/** What a process does: its stack, what of it waits for what, or what the kernel says when it does not answer. */
import { useState } from "react";
import type {
  InspectedStack,
  KernelView,
  RunningView,
  StackFrame,
  WaitView,
} from "../../../core/src/wire/inspection.ts";
import { bytes, count, duration, percent, shortId } from "../format.ts";
import { href } from "../router.ts";

export type { InspectedStack };

export function StackView({ stack }: { stack: InspectedStack }) {
  const { program, kernel, atMs } = stack;
  if (program === null) {
    return kernel === null ? <p className="muted">Nothing is known of it.</p> : <Kernel kernel={kernel} />;
  }
  const { stack: frames, current, running, runningTotal, waits, waitsTotal, handles } = program;
  const others = running.filter(({ taskId }) => taskId !== current?.taskId);
  const own = waits.filter(({ taskId }) => taskId === null || taskId === current?.taskId);
  const now = running.find(({ taskId }) => taskId === current?.taskId);
  const keeps = Object.entries(handles).map(([kind, n]) => `${n} ${kind}`);
  return (
    <div className="stack">
      <p>
        {current !== null ? (
          <>
            It runs <a href={href(["tasks", current.taskId])}>{current.name}</a>
            {now?.forMs != null && `, for ${duration(now.forMs)}`}
          </>
        ) : frames.length > 0 ? (
          "It computes"
        ) : (
          "Nothing is on its stack"
        )}
        {keeps.length > 0 && <span className="muted"> · its event loop has {keeps.join(", ")}</span>}
      </p>
      {frames.length > 0 && <Frames frames={frames} />}
      {own.map((wait) => (
        <Wait key={`${wait.taskId} ${wait.sinceMs} ${wait.ids[0]}`} wait={wait} atMs={atMs} />
      ))}
      {others.map((one) => (
        <Other key={one.taskId} running={one} waits={waits.filter(({ taskId }) => taskId === one.taskId)} atMs={atMs} />
      ))}
      {runningTotal > running.length && <p className="muted">{count(runningTotal - running.length)} more run in it.</p>}
      {waitsTotal > waits.length && <p className="muted">{count(waitsTotal - waits.length)} more waits are pending.</p>}
    </div>
  );
}

function Frames({ frames }: { frames: readonly StackFrame[] }) {
  const [isFull, setFull] = useState(false);
  const own = frames.filter(({ of }) => of === "program");
  const shown = (isFull || own.length === 0 ? frames : own).map((frame, depth) => ({ frame, depth }));
  const hidden = frames.length - shown.length;
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard */}
      <section className="frames mono" tabIndex={0} aria-label="Stack, the innermost first">
        <ol>
          {shown.map(({ frame, depth }) => (
            <Frame key={depth} frame={frame} />
          ))}
        </ol>
      </section>
      {(hidden > 0 || isFull) && (
        <button type="button" className="button plain small" aria-expanded={isFull} onClick={() => setFull(!isFull)}>
          {isFull ? "Only the program's frames" : `${hidden} more of Node.js and Mobula`}
        </button>
      )}
    </>
  );
}

function Frame({ frame: { name, file, line, column, of, isAsync } }: { frame: StackFrame }) {
  return (
    <li className={of === "program" ? "" : "muted"}>
      at {isAsync === true && "async "}
      {name === "" ? "(anonymous)" : name}{" "}
      <span className="muted">{file === "" ? "(no file)" : `${file}:${line}:${column}`}</span>
    </li>
  );
}

function Wait({ wait: { call, sinceMs, refs, missing, ids, at }, atMs }: { wait: WaitView; atMs: number }) {
  return (
    <div>
      <p>
        It waits in <code>{call}()</code>{" "}
        {call === "stream"
          ? "for the next ref"
          : `for ${count(missing)} of ${count(refs)} ${refs === 1 ? "ref" : "refs"}`}
        , for {duration(Math.max(0, atMs - sinceMs))}
        {ids.length > 0 && ": "}
        {ids.map((id, index) => (
          <span key={id}>
            {index > 0 && ", "}
            <a className="mono" href={href(["find", id])} title={id}>
              {shortId(id)}
            </a>
          </span>
        ))}
      </p>
      {at.length > 0 && <Frames frames={at} />}
    </div>
  );
}

function Other({ running, waits, atMs }: { running: RunningView; waits: readonly WaitView[]; atMs: number }) {
  const { name, taskId, forMs } = running;
  return (
    <div>
      <p>
        <a href={href(["tasks", taskId])}>{name}</a> has begun{forMs !== null && `, ${duration(forMs)} ago,`} and waits
        {waits.length === 0 && " for a promise of its own"}
      </p>
      {waits.map((wait) => (
        <Wait key={`${wait.sinceMs} ${wait.ids[0]}`} wait={wait} atMs={atMs} />
      ))}
    </div>
  );
}

function Kernel({ kernel }: { kernel: KernelView & { readonly why: string } }) {
  const { why, sentences, threads, residentBytes } = kernel;
  return (
    <div className="stack">
      <p>
        It does not answer: {why}. The kernel says{residentBytes !== null && `, of ${bytes(residentBytes)} in memory`}:
      </p>
      <ul className="sentences">
        {sentences.map((sentence) => (
          <li key={sentence}>{sentence}</li>
        ))}
      </ul>
      {threads.length > 0 && (
        <div className="scroll-x">
          <table className="simple small">
            <thead>
              <tr>
                <th scope="col">Thread</th>
                <th scope="col">State</th>
                <th scope="col" className="end">
                  Core
                </th>
                <th scope="col">Waits in</th>
              </tr>
            </thead>
            <tbody>
              {threads.map(({ id, name, state, cpuPercent, waitsIn }) => (
                <tr key={id}>
                  <td className="nowrap">
                    {name} <span className="muted">{id}</span>
                  </td>
                  <td>{state}</td>
                  <td className="end nowrap">{percent(cpuPercent)}</td>
                  <td className="mono">{waitsIn}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}
