/** What a process does right now: its stack, or a profile or snapshot to download, by one click. */
import { useEffect, useRef, useState } from "react";
import { ApiError, request } from "../api.ts";
import { Card, Failure } from "../parts.tsx";
import { type InspectedStack, StackView } from "./stack-view.tsx";

type Shown =
  | { readonly kind: "nothing" }
  | { readonly kind: "asking"; readonly what: string }
  | { readonly kind: "stack"; readonly stack: InspectedStack }
  | { readonly kind: "saved"; readonly name: string; readonly url: string; readonly stillMs?: number }
  | { readonly kind: "failed"; readonly error: ApiError };

const SECONDS = [5, 10, 30];

export function Inspect({ nodeId, pid }: { nodeId: string; pid: number }) {
  const [shown, setShown] = useState<Shown>({ kind: "nothing" });
  const [seconds, setSeconds] = useState(5);
  const abort = useRef<AbortController | undefined>(undefined);
  useEffect(() => () => abort.current?.abort(), []);
  useEffect(() => (shown.kind === "saved" ? () => URL.revokeObjectURL(shown.url) : undefined), [shown]);

  const ask = async (what: string, path: string, body: unknown, show: (response: Response) => Promise<Shown>) => {
    abort.current?.abort();
    const mine = new AbortController();
    abort.current = mine;
    setShown({ kind: "asking", what });
    try {
      const response = await request(path, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        signal: mine.signal,
      });
      setShown(await show(response));
    } catch (error) {
      if (mine.signal.aborted) return;
      setShown({
        kind: "failed",
        error: error instanceof ApiError ? error : new ApiError(0, "INTERNAL", String(error)),
      });
    }
  };
  const stack = () =>
    ask("Asking for the stack…", "stack", { nodeId, pid }, async (response) => ({
      kind: "stack",
      // By the schema of the service.
      stack: (await response.json()) as InspectedStack,
    }));
  const profile = (kind: "cpu" | "heap") =>
    ask(`Profiling for ${seconds} s…`, "profile", { nodeId, pid, kind, seconds }, async (response) => {
      const name = `mobula-${pid}.${kind}profile`;
      const url = URL.createObjectURL(await response.blob());
      save(url, name);
      return { kind: "saved", name, url };
    });
  const snapshot = () =>
    ask(
      "Taking a snapshot of its heap: it stands still…",
      "profile",
      { nodeId, pid, kind: "snapshot" },
      async (response) => {
        const name = `mobula-${pid}.heapsnapshot`;
        const url = URL.createObjectURL(await response.blob());
        save(url, name);
        return { kind: "saved", name, url, stillMs: Number(response.headers.get("mobula-still-ms")) };
      },
    );
  const isAsking = shown.kind === "asking";
  return (
    <Card
      title={`What process ${pid} does now`}
      aside={
        <span className="filters">
          <button type="button" className="button" onClick={() => void stack()} disabled={isAsking}>
            Stack
          </button>
          <button type="button" className="button" onClick={() => void profile("cpu")} disabled={isAsking}>
            CPU profile
          </button>
          <button type="button" className="button" onClick={() => void profile("heap")} disabled={isAsking}>
            Heap profile
          </button>
          <button
            type="button"
            className="button"
            title="The process stands still for up to 75 ms for each MiB of its heap, and needs memory for it"
            onClick={() => void snapshot()}
            disabled={isAsking}
          >
            Heap snapshot
          </button>
          <select
            aria-label="Length of a profile"
            value={seconds}
            onChange={(event) => setSeconds(Number(event.target.value))}
          >
            {SECONDS.map((value) => (
              <option key={value} value={value}>
                {value} s
              </option>
            ))}
          </select>
        </span>
      }
    >
      <div role="status">
        {shown.kind === "nothing" && (
          <p className="muted">
            A stack also of code that hangs in a loop; profiles open in Chrome's DevTools and speedscope. The process
            goes on meanwhile; but for a heap snapshot it stands still, for up to 75 ms for each MiB of its heap.
          </p>
        )}
        {shown.kind === "asking" && <p className="muted">{shown.what}</p>}
        {shown.kind === "failed" && <Failure error={shown.error} hasData={false} />}
        {shown.kind === "saved" && (
          <p>
            Saved as{" "}
            <a href={shown.url} download={shown.name}>
              {shown.name}
            </a>
            . Open it in DevTools (Performance or Memory, Load profile)
            {shown.stillMs === undefined
              ? " or speedscope."
              : `. The process stood still for ${(shown.stillMs / 1_000).toFixed(1)} s.`}
          </p>
        )}
      </div>
      {shown.kind === "stack" && <StackView stack={shown.stack} />}
    </Card>
  );
}

function save(url: string, name: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}
