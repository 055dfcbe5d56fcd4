/** A log: its last lines, following what comes, searched on the server; only lines in view exist. */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { ApiError, openStream, request, type Stream, type StreamState } from "./api.ts";
import { absolute, count } from "./format.ts";
import { parseLogLine } from "./log-line.ts";
import { Empty, Failure } from "./parts.tsx";
import { useParams } from "./router.ts";

const LINE_PX = 18;
/** Lines asked for at first. */
const LINES = 5000;
/** Lines kept while following: the oldest make room. */
const LINES_MAX = 50_000;
const TYPING_MS = 250;
const FLUSH_MS = 100;

export interface LogSource {
  /** Of the API. */
  readonly path: string;
  /** The output of a job comes in pieces until the job ends; anything else in lines, the last ones first. */
  readonly isOutput: boolean;
}

/** The log of a file, a process (`pid:123`), a task, an actor or a job. */
export const logOf = (id: string): LogSource => ({ path: `logs/${encodeURIComponent(id)}`, isOutput: false });

export function LogView({ source }: { source: LogSource }) {
  const [params, setParams] = useParams();
  const search = params.get("search") ?? "";
  const isFollowing = params.get("follow") !== "no";
  const { lines, firstNumber, error, state, isLoading, hasEnded } = useLog(source, search, isFollowing);

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
        {!hasEnded && (
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
          {hasEnded && ", it has ended"}
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
                  <Line line={text} search={search} />
                </div>
              ))}
            </div>
          </div>
        </section>
      )}
    </>
  );
}

/** When and who, quietly, and what. */
function Line({ line, search }: { line: string; search: string }) {
  const parsed = parseLogLine(line);
  if (parsed === undefined) return <span>{search === "" ? line : <Marked line={line} search={search} />}</span>;
  const { atMs, pid, name, text, isError } = parsed;
  return (
    <span title={absolute(atMs)}>
      <span className="muted">
        {absolute(atMs).slice(11)} {name === "" ? `pid ${pid}` : `${name} ${pid}`}
        {isError ? " stderr" : ""}{" "}
      </span>
      {search === "" ? text : <Marked line={text} search={search} />}
    </span>
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
  readonly hasEnded: boolean;
}
const NOTHING: Log = {
  lines: [],
  firstNumber: 1,
  error: undefined,
  state: "connecting",
  isLoading: true,
  hasEnded: false,
};

function useLog({ path, isOutput }: LogSource, search: string, isFollowing: boolean): Log {
  const [log, setLog] = useState<Log>(NOTHING);
  useEffect(() => {
    const abort = new AbortController();
    const wanted = search.toLowerCase();
    const isWanted = (line: string) => wanted === "" || line.toLowerCase().includes(wanted);
    const query = new URLSearchParams(isOutput ? {} : { lines: String(LINES) });
    if (search !== "" && !isOutput) query.set("search", search);
    let fresh: string[] = [];
    let rest = "";
    let timer: ReturnType<typeof setTimeout> | undefined;
    let stream: Stream | undefined;
    let isKnown = false;

    const flush = () => {
      timer = undefined;
      const added = fresh;
      fresh = [];
      setLog((old) => {
        const lines = [...old.lines, ...added];
        const dropped = Math.max(0, lines.length - LINES_MAX);
        const kept = dropped === 0 ? lines : lines.slice(dropped);
        return { ...old, lines: kept, firstNumber: old.firstNumber + dropped, isLoading: false };
      });
    };
    const add = (lines: readonly string[]) => {
      isKnown = true;
      for (const line of lines) if (isWanted(line)) fresh.push(line);
      timer ??= setTimeout(flush, FLUSH_MS);
    };
    const addPiece = (piece: string) => {
      const lines = splitLines(rest + piece);
      rest = lines.pop() ?? "";
      add(lines);
    };
    const read = async () => {
      try {
        const response = await request(isOutput ? path : `${path}/lines?${query}`, { signal: abort.signal });
        const lines = splitLines(await response.text());
        if (lines.at(-1) === "") lines.pop();
        if (!abort.signal.aborted) setLog({ ...NOTHING, lines: lines.filter(isWanted), isLoading: false });
      } catch (error) {
        if (abort.signal.aborted) return;
        const shown = error instanceof ApiError ? error : new ApiError(0, "INTERNAL", String(error));
        setLog((old) => ({ ...old, error: shown, isLoading: false }));
      }
    };

    if (!isFollowing) void read();
    else {
      stream = openStream(`${path}/follow${query.size > 0 ? `?${query}` : ""}`, {
        events: ["output", "lines"],
        onState: (state) => {
          if (state === "open") {
            // It begins again: what was shown comes once more.
            fresh = [];
            rest = "";
            setLog({ ...NOTHING, state, isLoading: !isOutput });
          } else setLog((old) => ({ ...old, state }));
          // A stream that is refused does not say why; the same question without it does.
          if (state === "waiting" && !isKnown) void read();
        },
        onEvent: (name, data) => {
          if (name === "output") addPiece(String(JSON.parse(data)));
          if (name === "lines") add((JSON.parse(data) as readonly string[]).map(withoutColours));
        },
        onEnd: () => {
          if (rest !== "") addPiece("\n");
          setLog((old) => ({ ...old, hasEnded: true, isLoading: false }));
        },
      });
    }
    return () => {
      abort.abort();
      stream?.close();
      clearTimeout(timer);
    };
  }, [path, isOutput, search, isFollowing]);
  return log;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours of terminals begin with escape
const TERMINAL_COLOURS = /\u001b\[[0-9;]*[A-Za-z]/g;

const withoutColours = (text: string) => text.replace(TERMINAL_COLOURS, "");

function splitLines(text: string): string[] {
  return withoutColours(text).split(/\r?\n/);
}
