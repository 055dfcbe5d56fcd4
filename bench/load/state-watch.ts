/** What the state service says of a load: its detectors, for which all is healthy, and why what hangs waits. */

interface EventRow {
  readonly kind: string;
  readonly message: string;
  readonly remedy: string | null;
}

export interface StateWatch {
  /** Messages of all alarms that were raised since the beginning: false ones. */
  raised(): Promise<readonly string[]>;
  /** A line for each task that has not ended, and for each of some, what it waits for. */
  unfinished(): Promise<readonly string[]>;
}

const ASKED_WHY_MAX = 8;
const ANSWER_MS_MAX = 30_000;

/** Opens the dashboard's link, which starts the service. */
export async function watchState(dashboardUrl: string): Promise<StateWatch> {
  const { origin } = new URL(dashboardUrl);
  const entered = await fetch(dashboardUrl, { redirect: "manual" });
  const [cookie = ""] = (entered.headers.get("set-cookie") ?? "").split(";");
  const get = async <Answer>(path: string): Promise<Answer> => {
    const response = await fetch(`${origin}/api/v1/${path}`, {
      headers: { cookie },
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    if (!response.ok) throw new Error(`${path} cannot be read: ${response.status} ${await response.text()}`);
    return (await response.json()) as Answer;
  };
  const raised = async (): Promise<readonly string[]> => {
    const { rows } = await get<{ readonly rows: readonly EventRow[] }>("events?limit=10000");
    // What has happened to nodes has a remedy too.
    return rows.flatMap(({ kind, message, remedy }) =>
      remedy === null || kind === "node-died" ? [] : [`${kind}: ${message}`],
    );
  };
  const unfinished = async (): Promise<readonly string[]> => {
    const { rows } = await get<{ readonly rows: readonly Record<string, unknown>[] }>(
      "tasks?filter=finishedAtMs=&limit=100",
    );
    const reasons = await Promise.all(
      rows.slice(0, ASKED_WHY_MAX).map(async ({ taskId }) => {
        const { sentences } = await get<{ readonly sentences: readonly string[] }>(`why/${taskId}`);
        return `${taskId}: ${sentences.join(" ")}`;
      }),
    );
    return [...rows.map((row) => JSON.stringify(row)), ...reasons];
  };
  await raised();
  return { raised, unfinished };
}
