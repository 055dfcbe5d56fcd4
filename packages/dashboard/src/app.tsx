/** The frame around every page: navigation, search, keys, and what is live. */
import { type FormEvent, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { access, openStream, type StreamState } from "./api.ts";
import { Icon } from "./icons.tsx";
import { ActorPage, GroupPage, NodePage, ObjectPage, TaskPage, WorkerPage } from "./pages/details.tsx";
import { EventsPage } from "./pages/events.tsx";
import { FindPage } from "./pages/find.tsx";
import { JobPage } from "./pages/job.tsx";
import { ActorsPage, GroupsPage, JobsPage, LogsPage, NodesPage, WorkersPage } from "./pages/lists.tsx";
import { LogPage } from "./pages/log.tsx";
import { MetricsPage } from "./pages/metrics.tsx";
import { ObjectsPage } from "./pages/objects.tsx";
import { OverviewPage } from "./pages/overview.tsx";
import { SubmitPage } from "./pages/submit.tsx";
import { TasksPage } from "./pages/tasks.tsx";
import { href, navigate, type Route, useRoute } from "./router.ts";
import type { Overview } from "./rows.ts";
import { type Theme, useTheme } from "./theme.ts";
import { put, refreshAll, useQuery } from "./use-query.ts";

interface Place {
  readonly key: string;
  readonly title: string;
  /** After `g`. */
  readonly letter: string;
}
const groups: readonly { readonly title: string; readonly places: readonly Place[] }[] = [
  {
    title: "Work",
    places: [
      { key: "overview", title: "Overview", letter: "h" },
      { key: "jobs", title: "Jobs", letter: "j" },
      { key: "tasks", title: "Tasks", letter: "t" },
      { key: "actors", title: "Actors", letter: "a" },
      { key: "objects", title: "Objects", letter: "o" },
    ],
  },
  {
    title: "Cluster",
    places: [
      { key: "nodes", title: "Nodes", letter: "n" },
      { key: "workers", title: "Workers", letter: "w" },
      { key: "placement-groups", title: "Placement groups", letter: "p" },
    ],
  },
  {
    title: "Find out why",
    places: [
      { key: "metrics", title: "Metrics", letter: "m" },
      { key: "logs", title: "Logs", letter: "l" },
      { key: "events", title: "Events", letter: "e" },
    ],
  },
];
const places = groups.flatMap((group) => group.places);
const linkOf = (key: string) => href(key === "overview" ? [] : [key]);

export function App() {
  const isSignedIn = useSyncExternalStore(access.subscribe, access.get);
  return isSignedIn ? <Shell /> : <SignIn />;
}

function Shell() {
  const route = useRoute();
  const section = sectionOf(route);
  const [isMenuOpen, setMenuOpen] = useState(false);
  const [streamState, setStreamState] = useState<StreamState>("connecting");
  const main = useRef<HTMLElement>(null);
  const help = useRef<HTMLDialogElement>(null);
  const search = useRef<HTMLInputElement>(null);
  const { data: overview } = useQuery<Overview>("overview", 2000);
  const alarms = overview?.alerts.filter(({ severity }) => severity !== "info").length ?? 0;

  useEffect(() => {
    const stream = openStream("stream?topics=overview,events", {
      events: ["overview", "event"],
      onState: setStreamState,
      onEvent: (name, data) => {
        if (name === "event") refreshAll("events");
        if (name !== "overview") return;
        put("overview", JSON.parse(data) as Overview); // By the schema of the service.
      },
    });
    return () => stream.close();
  }, []);

  const path = route.segments.join("/");
  const title = titleOf(route);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another page begins at its top, and closes the menu
  useEffect(() => {
    document.title = `${title} · Mobula`;
    main.current?.scrollTo(0, 0);
    setMenuOpen(false);
  }, [path, title]);
  useKeys(
    () => search.current,
    () => help.current,
    () => setMenuOpen(false),
  );

  return (
    <div className="shell">
      <button type="button" className="skip" onClick={() => main.current?.focus()}>
        Skip to the page
      </button>
      <div className="brand">
        <a href={href([])}>
          <img src="./icon.svg" width="20" height="20" alt="" />
          Mobula
        </a>
      </div>
      <header className="topbar">
        <button
          type="button"
          className="button plain menu-button"
          aria-label="Menu"
          aria-expanded={isMenuOpen}
          aria-controls="nav"
          onClick={() => setMenuOpen(!isMenuOpen)}
        >
          <Icon name="menu" />
        </button>
        <Search input={search} />
        <span className="spacer" />
        <Live state={streamState} />
        <button
          type="button"
          className="button plain desktop-only"
          onClick={() => help.current?.showModal()}
          aria-label="Keys"
          title="Keys (?)"
        >
          <span aria-hidden="true">?</span>
        </button>
        <ThemeSwitch />
      </header>
      <nav id="nav" className={`nav ${isMenuOpen ? "open" : ""}`} aria-label="Pages">
        {groups.map(({ title: groupTitle, places: members }) => (
          <section key={groupTitle} aria-label={groupTitle}>
            <h2>{groupTitle}</h2>
            {members.map(({ key, title: name }) => (
              <a
                key={key}
                href={linkOf(key)}
                aria-current={section === key ? "page" : undefined}
                onClick={() => setMenuOpen(false)}
              >
                <Icon name={key} />
                {name}
                {key === "events" && alarms > 0 && (
                  <span className="badge" title={`${alarms} need attention`}>
                    {alarms}
                    <span className="visually-hidden"> need attention</span>
                  </span>
                )}
              </a>
            ))}
          </section>
        ))}
      </nav>
      <main id="main" ref={main} tabIndex={-1}>
        <Page route={route} />
      </main>
      <Keys dialog={help} />
    </div>
  );
}

function Page({ route }: { route: Route }) {
  const [kind = "overview", id] = route.segments;
  if (id !== undefined) {
    switch (kind) {
      case "jobs":
        return <JobPage key={id} id={id} />;
      case "nodes":
        return <NodePage key={id} id={id} />;
      case "workers":
        return <WorkerPage key={id} id={id} />;
      case "tasks":
        return <TaskPage key={id} id={id} />;
      case "actors":
        return <ActorPage key={id} id={id} />;
      case "objects":
        return <ObjectPage key={id} id={id} />;
      case "placement-groups":
        return <GroupPage key={id} id={id} />;
      case "logs":
        return <LogPage key={id} id={id} />;
      case "find":
      case "why":
        return <FindPage key={id} query={id} />;
    }
  }
  switch (kind) {
    case "overview":
      return <OverviewPage />;
    case "jobs":
      return <JobsPage />;
    case "submit":
      return <SubmitPage />;
    case "tasks":
      return <TasksPage />;
    case "actors":
      return <ActorsPage />;
    case "objects":
      return <ObjectsPage />;
    case "nodes":
      return <NodesPage />;
    case "workers":
      return <WorkersPage />;
    case "placement-groups":
      return <GroupsPage />;
    case "metrics":
      return <MetricsPage />;
    case "logs":
      return <LogsPage />;
    case "events":
      return <EventsPage />;
    default:
      return (
        <div className="page">
          <h1>There is no such page</h1>
          <p>
            <a href={href([])}>Go to the overview</a>
          </p>
        </div>
      );
  }
}

function sectionOf({ segments: [kind = "overview"] }: Route): string {
  return kind === "submit" ? "jobs" : kind;
}

function titleOf(route: Route): string {
  const section = sectionOf(route);
  const name = places.find(({ key }) => key === section)?.title ?? "Find";
  const [, id] = route.segments;
  return id === undefined ? name : `${id} · ${name}`;
}

function Search({ input }: { input: React.RefObject<HTMLInputElement | null> }) {
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const text = input.current?.value.trim() ?? "";
    if (text === "") return;
    navigate(href(["find", text]));
    if (input.current !== null) {
      input.current.value = "";
      input.current.blur();
    }
  };
  return (
    <search>
      <form onSubmit={submit}>
        <input
          ref={input}
          type="search"
          aria-label="Find an id or a name"
          placeholder="Find an id or a name"
          spellCheck={false}
          autoComplete="off"
        />
        <kbd>/</kbd>
      </form>
    </search>
  );
}

const liveWords: Readonly<Record<StreamState, readonly [string, string]>> = {
  connecting: ["wait", "Connecting"],
  open: ["ok", "Live"],
  waiting: ["bad", "Connecting again"],
  paused: ["off", "Paused"],
};
function Live({ state }: { state: StreamState }) {
  const [tone, text] = liveWords[state];
  return (
    <span className="live" role="status" title={text}>
      <span className={`dot ${tone}`} />
      <span className="text">{text}</span>
      <span className="visually-hidden">{text}</span>
    </span>
  );
}

const nextTheme: Readonly<Record<Theme, Theme>> = { system: "light", light: "dark", dark: "system" };
function ThemeSwitch() {
  const { theme, setTheme } = useTheme();
  const words = theme === "system" ? "as the system" : theme;
  return (
    <button
      type="button"
      className="button plain"
      aria-label={`Colours: ${words}. Change`}
      title={`Colours: ${words}`}
      onClick={() => setTheme(nextTheme[theme])}
    >
      <Icon name={theme} />
    </button>
  );
}

/** `/` searches, `g` and a letter goes to a page, `?` shows the keys. */
function useKeys(search: () => HTMLInputElement | null, help: () => HTMLDialogElement | null, close: () => void): void {
  const latest = useRef({ search, help, close });
  latest.current = { search, help, close };
  useEffect(() => {
    let isGoing = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const onKeyDown = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.key === "Escape") {
        if (target === latest.current.search()) target.blur();
        latest.current.close();
        return;
      }
      if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, textarea, select, dialog") !== null)
        return;
      if (isGoing) {
        isGoing = false;
        clearTimeout(timer);
        const place = places.find(({ letter }) => letter === event.key);
        if (place === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        navigate(linkOf(place.key));
        document.getElementById("main")?.focus();
        return;
      }
      if (event.key === "g") {
        isGoing = true;
        timer = setTimeout(() => {
          isGoing = false;
        }, GO_MS);
      } else if (event.key === "/") {
        event.preventDefault();
        latest.current.search()?.focus();
      } else if (event.key === "?") latest.current.help()?.showModal();
    };
    // Before the page's own keys: after `g`, a letter is a place.
    addEventListener("keydown", onKeyDown, true);
    return () => {
      removeEventListener("keydown", onKeyDown, true);
      clearTimeout(timer);
    };
  }, []);
}
/** How long after `g` a letter is awaited. */
const GO_MS = 1500;

function Keys({ dialog }: { dialog: React.RefObject<HTMLDialogElement | null> }) {
  return (
    <dialog ref={dialog} aria-labelledby="keys-title">
      <div className="card-head">
        <h2 id="keys-title">Keys</h2>
        <button type="button" className="button plain" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </div>
      <div className="card-body">
        <div className="shortcuts">
          <kbd>/</kbd>
          <span>find an id or a name</span>
          {places.map(({ key, title, letter }) => (
            <KeyLine key={key} letter={letter} title={title} />
          ))}
          <kbd>↑ ↓</kbd>
          <span>in a table: from row to row; Enter opens it</span>
          <kbd>← → + − 0</kbd>
          <span>in the timeline: move, zoom, show all</span>
          <kbd>, .</kbd>
          <span>in the timeline: from span to span</span>
        </div>
      </div>
    </dialog>
  );
}
function KeyLine({ letter, title }: { letter: string; title: string }) {
  return (
    <>
      <kbd>g {letter}</kbd>
      <span>{title}</span>
    </>
  );
}

function SignIn() {
  // The cookie may come back by a link in another tab: then this one goes on by itself.
  useQuery<Overview>("overview", 5000);
  return (
    <main className="signin">
      <img src="./icon.svg" width="40" height="40" alt="" />
      <h1>Open the dashboard by a link</h1>
      <p>
        This browser may not see the cluster, or no longer. On a machine of the cluster, or where your program runs:
      </p>
      <pre>
        <code>mobula dashboard</code>
      </pre>
      <p className="muted">
        It prints a link that is good once, within ten minutes, and leaves a cookie in this browser.
      </p>
    </main>
  );
}
