/** A log: its last lines, following what comes, searched on the server; only lines in view exist. */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { ApiError, openStream, request, type StreamState } from "./api.ts";
import { count } from "./format.ts";
import { Empty, Failure } from "./parts.tsx";
import { useParams } from "./router.ts";

const LINE_PX = 18;
/** Lines asked for at first. */
const LINES = 5000;
/** Lines kept while following: the oldest make room. */
const LINES_MAX = 50_000;
const TYPING_MS = 250;
const FLUSH_MS = 100;

/** `path` as `logs/ID` or `jobs/ID/logs`. */
export function LogView({ path, follow = true }: { path: string; follow?: boolean }) {
  const [params, setParams] = useParams();
  const search = params.get("search") ?? "";
  const isFollowing = follow && params.get("follow") !== "no";
  const { lines, firstNumber, error, state, isLoading } = useLog(path, search, isFollowing);

  const box = useRef<HTMLElement>(null);
  const [view, setView] = useState({ first: 0, last: 60 });
  const isAtEnd = useRef(true);
  const measure = () => {
    const element = box.current;
    if (element === null) return;
    isAtEnd.current = element.scrollTop + element.clientHeight >= element.scrollHeight - LINE_PX * 2;
    const first = Math.max(0, Math.floor(element.scrollTop / LINE_PX) - 20);
    setView({ first, last: first + Math.ceil(element.clientHeight / LINE_PX) + 40 });
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: new lines move the view when it is at the end
  useLayoutEffect(() => {
    const element = box.current;
    if (element !== null && isAtEnd.current) element.scrollTop = element.scrollHeight;
    measure();
  }, [lines]);

  const [typed, setTyped] = useState(search);
  useEffect(() => setTyped(search), [search]);
  useEffect(() => {
    if (typed === search) return;
    const timer = setTimeout(() => setParams({ search: typed }), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed, search, setParams]);

  const longest = useMemo(() => lines.reduce((most, line) => Math.max(most, line.length), 0), [lines]);
  const first = Math.min(view.first, Math.max(0, lines.length - 1));
  const shown = lines.slice(first, view.last).map((text, at) => ({ text, number: firstNumber + first + at }));
  return (
    <>
      <search className="filters">
        <input
          className="quick"
          type="search"
          aria-label="Lines that contain"
          placeholder="Lines that contain"
          value={typed}
          onChange={(event) => setTyped(event.target.value)}
        />
        {follow && (
          <button
            type="button"
            className="button"
            aria-pressed={isFollowing}
            onClick={() => setParams({ follow: isFollowing ? "no" : "" })}
          >
            Follow
          </button>
        )}
        <button
          type="button"
          className="button"
          onClick={() => {
            isAtEnd.current = true;
            const element = box.current;
            if (element !== null) element.scrollTop = element.scrollHeight;
          }}
        >
          To the end
        </button>
        <span className="total" role="status">
          {isLoading ? "Loading…" : `${count(lines.length)} lines`}
          {isFollowing && state === "waiting" && ", connecting again"}
        </span>
      </search>
      {error !== undefined && <Failure error={error} hasData={lines.length > 0} />}
      {!isLoading && lines.length === 0 && error === undefined ? (
        <div className="card">
          <Empty title={search === "" ? "Nothing was printed yet" : "No line contains that"}>
            {search === "" ? "What the process prints to its output and errors shows here as it comes." : null}
          </Empty>
        </div>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard
        <section className="log" ref={box} onScroll={measure} tabIndex={0} aria-label="Log">
          <div className="log-lines" style={{ height: lines.length * LINE_PX, minWidth: `calc(${longest}ch + 90px)` }}>
            <div style={{ transform: `translateY(${first * LINE_PX}px)` }}>
              {shown.map(({ text, number }) => (
                <div className="log-line" key={number}>
                  <span>{number}</span>
                  <span>{search === "" ? text : <Marked line={text} search={search} />}</span>
                </div>
              ))}
            </div>
          </div>
        </section>
      )}
    </>
  );
}

function Marked({ line, search }: { line: string; search: string }) {
  const at = line.toLowerCase().indexOf(search.toLowerCase());
  if (at < 0) return line;
  return (
    <>
      {line.slice(0, at)}
      <mark>{line.slice(at, at + search.length)}</mark>
      {line.slice(at + search.length)}
    </>
  );
}

interface Log {
  readonly lines: readonly string[];
  readonly firstNumber: number;
  readonly error: ApiError | undefined;
  readonly state: StreamState;
  readonly isLoading: boolean;
}

function useLog(path: string, search: string, isFollowing: boolean): Log {
  const [log, setLog] = useState<Log>({
    lines: [],
    firstNumber: 1,
    error: undefined,
    state: "connecting",
    isLoading: true,
  });
  useEffect(() => {
    const abort = new AbortController();
    let fresh: string[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const flush = () => {
      timer = undefined;
      const added = fresh;
      fresh = [];
      setLog((old) => {
        const lines = [...old.lines, ...added];
        const dropped = Math.max(0, lines.length - LINES_MAX);
        return { ...old, lines: dropped === 0 ? lines : lines.slice(dropped), firstNumber: old.firstNumber + dropped };
      });
    };
    const query = new URLSearchParams({ lines: String(LINES) });
    if (search !== "") query.set("search", search);
    let stream: { close(): void } | undefined;
    request(`${path}?${query}`, { signal: abort.signal })
      .then(async (response) => {
        const text = await response.text();
        if (abort.signal.aborted) return;
        setLog({ lines: splitLines(text), firstNumber: 1, error: undefined, state: "connecting", isLoading: false });
        if (!isFollowing) return;
        stream = openStream(`${path}/follow${search === "" ? "" : `?search=${encodeURIComponent(search)}`}`, {
          events: ["line", "lines"],
          onState: (state) => setLog((old) => ({ ...old, state })),
          onEvent: (_name, data) => {
            for (const line of splitLines(data)) {
              if (search === "" || line.toLowerCase().includes(search.toLowerCase())) fresh.push(line);
            }
            timer ??= setTimeout(flush, FLUSH_MS);
          },
        });
      })
      .catch((error: unknown) => {
        if (abort.signal.aborted) return;
        const shown = error instanceof ApiError ? error : new ApiError(0, "INTERNAL", String(error));
        setLog((old) => ({ ...old, error: shown, isLoading: false }));
      });
    return () => {
      abort.abort();
      stream?.close();
      clearTimeout(timer);
    };
  }, [path, search, isFollowing]);
  return log;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours of terminals begin with escape
const TERMINAL_COLOURS = /\u001b\[[0-9;]*[A-Za-z]/g;

function splitLines(text: string): string[] {
  if (text === "") return [];
  const lines = text.replace(TERMINAL_COLOURS, "").split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}
