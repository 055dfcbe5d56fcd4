/** The command line's way to the HTTP API: where it is, and asking it. */
import { askHead } from "../head/mod.ts";
import { baseFolder, dashboardsIn } from "../node/mod.ts";
import { readTokens } from "../transport/mod.ts";
import { headOfEnvironment } from "./cli-ask.ts";

export interface ApiPlace {
  /** `http://127.0.0.1:8265` */
  readonly url: string;
  readonly token: string;
}

const ANSWER_MS = 30_000;

/**
 * Where the API is: at `--address` (that of the API, or of a head), else as MOBULA_ADDRESS says, else on this machine: of what
 * `mobula start` has started, or of a program that runs with a node of its own.
 *
 * @throws Error that says what to do when there is none.
 */
export async function findApi(address = process.env.MOBULA_ADDRESS): Promise<ApiPlace> {
  if (address !== undefined && /^https?:\/\//.test(address)) {
    const { MOBULA_TOKEN, MOBULA_TOKEN_FILE } = process.env;
    const token = MOBULA_TOKEN || (MOBULA_TOKEN_FILE && readTokens(MOBULA_TOKEN_FILE)[0]);
    const url = address.replace(/\/+$/, "");
    const here = dashboardsIn(baseFolder()).find((one) => one.url === url);
    if (token) return { url, token };
    if (here) return { url, token: readTokens(here.tokenFile)[0] };
    throw new Error("MOBULA_TOKEN is not set: `mobula token` prints it on a machine of the cluster");
  }
  if (address !== undefined && /:\d+$/.test(address)) {
    const head = headOfEnvironment({ ...process.env, MOBULA_ADDRESS: address });
    if (!head) throw new Error("MOBULA_TOKEN is not set: `mobula token` prints it on a machine of the cluster");
    const { dashboard } = await askHead(head, "heads", null);
    if (dashboard === undefined) throw new Error(`the head at ${address} has no state service`);
    return { url: dashboard, token: head.token };
  }
  const [first, ...more] = [...dashboardsIn(baseFolder())].sort((a, b) => Number(a.isEmbedded) - Number(b.isEmbedded));
  if (!first) {
    throw new Error(
      "nothing runs here: start a node with `mobula start`, run a program, or set MOBULA_ADDRESS and MOBULA_TOKEN",
    );
  }
  if (first.isEmbedded && more.length > 0)
    process.stderr.write(
      `mobula: ${more.length + 1} programs run here; this is of the newest, --address ${first.url}\n`,
    );
  return { url: first.url, token: readTokens(first.tokenFile)[0] };
}

/** An answer of the API that is an error. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** @throws ApiError with what it answers; Error when it cannot be reached. */
export async function askApi(
  { url, token }: ApiPlace,
  path: string,
  request: { readonly method?: string; readonly body?: unknown; readonly timeoutMs?: number } = {},
): Promise<Response> {
  const { method = "GET", body, timeoutMs = ANSWER_MS } = request;
  const response = await fetch(url + path, {
    method,
    signal: AbortSignal.timeout(timeoutMs),
    headers: {
      authorization: `Bearer ${token}`,
      ...(body !== undefined && { "content-type": "application/json" }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  }).catch((error: Error) => {
    const why = (error.cause as Error | undefined)?.message ?? error.message;
    throw new Error(`the state service at ${url} cannot be reached: ${why}`);
  });
  if (response.ok) return response;
  const text = await response.text();
  try {
    const { error } = JSON.parse(text) as { readonly error: { readonly code: string; readonly message: string } };
    throw new ApiError(response.status, error.code, error.message);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(response.status, "INTERNAL", text.slice(0, 300) || response.statusText);
  }
}

/** The answer to a GET, of the API of the same version. @throws as {@link askApi}. */
export async function getJson<Answer>(place: ApiPlace, path: string): Promise<Answer> {
  return (await (await askApi(place, path)).json()) as Answer;
}
