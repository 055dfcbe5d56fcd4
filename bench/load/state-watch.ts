/** What the state service's detectors say of a load that is healthy: anything is a false alarm. */

interface EventRow {
  readonly kind: string;
  readonly message: string;
  readonly remedy: string | null;
}

export interface AlarmWatch {
  /** Messages of all that were raised since the beginning. */
  raised(): Promise<readonly string[]>;
}

/** Opens the dashboard's link, which starts the service. */
export async function watchAlarms(dashboardUrl: string): Promise<AlarmWatch> {
  const { origin } = new URL(dashboardUrl);
  const entered = await fetch(dashboardUrl, { redirect: "manual" });
  const [cookie = ""] = (entered.headers.get("set-cookie") ?? "").split(";");
  const raised = async (): Promise<readonly string[]> => {
    const response = await fetch(`${origin}/api/v1/events?limit=10000`, { headers: { cookie } });
    if (!response.ok) throw new Error(`the events cannot be read: ${response.status} ${await response.text()}`);
    const { rows } = (await response.json()) as { readonly rows: readonly EventRow[] };
    // What has happened to nodes has a remedy too.
    return rows.flatMap(({ kind, message, remedy }) =>
      remedy === null || kind === "node-died" ? [] : [`${kind}: ${message}`],
    );
  };
  await raised();
  return { raised };
}
