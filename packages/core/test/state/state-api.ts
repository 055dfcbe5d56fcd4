/** The HTTP API of the state service, for tests. */
import { expect } from "vitest";
import type { Context } from "../../src/api/mod.ts";
import type { Listed, Row, RowKind } from "../../src/state/mod.ts";

export interface StateApi {
  get<T>(path: string): Promise<T>;
  /** Server-sent events, until the reader stops. */
  events(path: string): AsyncGenerator<{ readonly event: string; readonly data: string }>;
  list<K extends RowKind>(kind: K, ...filters: readonly string[]): Promise<Listed<Row<K>>>;
}

/** By the link, as a browser comes in. */
export async function openStateApi({ dashboardUrl = "" }: Pick<Context, "dashboardUrl">): Promise<StateApi> {
  const entered = await fetch(dashboardUrl, { redirect: "manual" });
  const [cookie = ""] = (entered.headers.get("set-cookie") ?? "").split(";");
  const { origin } = new URL(dashboardUrl);
  const ask = async <T>(path: string): Promise<T> => {
    const response = await fetch(`${origin}/api/v1/${path}`, { headers: { cookie } });
    const text = await response.text();
    expect(response.status, text).toBe(200);
    return JSON.parse(text) as T;
  };
  async function* events(path: string) {
    const response = await fetch(`${origin}/api/v1/${path}`, { headers: { cookie } });
    expect(response.status).toBe(200);
    let text = "";
    for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      const parts = (text + chunk).split("\n\n");
      text = parts.pop() ?? "";
      for (const part of parts) {
        const [, event = "message"] = /^event: (.*)$/m.exec(part) ?? [];
        const [, data = ""] = /^data: (.*)$/m.exec(part) ?? [];
        yield { event, data };
      }
    }
  }
  return {
    get: ask,
    events,
    list: (kind, ...filters) => {
      const params = filters.map((filter) => `filter=${encodeURIComponent(filter)}`).join("&");
      return ask(`${kind}?${params}`);
    },
  };
}
