/** A program of this folder, run as a user would, and looked at as a person would: by its link. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export interface EventRow {
  readonly severity: string;
  readonly kind: string;
  readonly message: string;
  readonly remedy: string | null;
  readonly subjects: readonly string[];
}

const ASKED_EVERY_MS = 500;
/** A machine with ten times as much to do as it has cores may not answer within 5 s. */
const TRIES_MAX = 5;
/** The one before it has begun: many at once would take each other's time. */
let begun: Promise<unknown> = Promise.resolve();

const running = new Set<ChildProcess>();

/** Those of tests that took too long would go on. */
export function endAll(): void {
  for (const child of running) child.kill("SIGKILL");
}

export class Program implements AsyncDisposable {
  private readonly process: ChildProcess;
  private readonly origin: string;
  private readonly headers: Readonly<Record<string, string>>;

  private constructor(process: ChildProcess, origin: string, headers: Program["headers"]) {
    this.process = process;
    this.origin = origin;
    this.headers = headers;
  }

  static start(name: string): Promise<Program> {
    const program = begun.then(() => Program.startNow(name));
    begun = program.catch(() => undefined);
    return program;
  }

  private static async startNow(name: string): Promise<Program> {
    const path = join(import.meta.dirname, "..", name);
    const child = spawn(process.execPath, ["--conditions=mobula-source", path], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    running.add(child);
    child.once("close", () => running.delete(child));
    const [link = "", token] = (await firstLine(child)).split(" ");
    const { origin } = new URL(link);
    if (token !== undefined) return new Program(child, origin, { authorization: `Bearer ${token}` });
    const entered = await fetch(link, { redirect: "manual" });
    const [cookie = ""] = (entered.headers.get("set-cookie") ?? "").split(";");
    return new Program(child, origin, { cookie });
  }

  async get<T>(path: string): Promise<T> {
    for (let tries = 1; ; tries++) {
      const response = await fetch(`${this.origin}/api/v1/${path}`, { headers: this.headers });
      if (response.ok) return (await response.json()) as T;
      const isBusy = response.status === 503 && tries < TRIES_MAX;
      if (!isBusy) throw new Error(`${path}: ${response.status} ${await response.text()}`);
      await response.body?.cancel();
    }
  }

  async alerts(): Promise<readonly EventRow[]> {
    return (await this.get<{ readonly alerts: readonly EventRow[] }>("overview")).alerts;
  }

  /** @throws Error when it is not raised within that time. */
  async alarm(kind: string, withinMs: number): Promise<EventRow> {
    const deadline = performance.now() + withinMs;
    for (;;) {
      const alerts = await this.alerts();
      const found = alerts.find((alert) => alert.kind === kind);
      if (found) return found;
      if (performance.now() > deadline)
        throw new Error(
          `no ${kind} within ${withinMs} ms; there are: ${alerts.map(({ message }) => message).join("; ")}`,
        );
      await delay(ASKED_EVERY_MS);
    }
  }

  /** Its node ends with it. */
  async [Symbol.asyncDispose](): Promise<void> {
    const gone = new Promise((resolve) => this.process.once("close", resolve));
    this.process.kill("SIGTERM");
    await gone;
  }
}

function firstLine({ stdout }: ChildProcess): Promise<string> {
  let text = "";
  return new Promise((resolve, reject) => {
    stdout?.on("data", (piece) => {
      text += piece;
      const end = text.indexOf("\n");
      if (end >= 0) resolve(text.slice(0, end));
    });
    stdout?.once("close", () => reject(new Error("it has ended before it said where it can be looked at")));
  });
}
