/** The routes of logs: the last lines of a file, or of a task, an actor, a job or a process, and what comes after them. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { streamSSE } from "hono/streaming";
import { wallMs } from "../base/clock.ts";
import { InvalidOptionError, MobulaError } from "../base/errors.ts";
import { byTime, type LogRecord, lineAsText, parseLogLine, timeOfLine } from "../node/mod.ts";
import type { Queries } from "../wire/queries.ts";
import type { Env } from "./http.ts";
import type { Links } from "./links.ts";
import type { LogRow } from "./rows.ts";
import type { Gathered } from "./sources.ts";

const LINES = 1_000;
const FOLLOW_MS = 400;
/** A search reads up to 64 MiB on each node. */
const READ_MS = 10_000;
/** `nodeId:file`, as rows of logs name it. */
const FILE = /^([0-9a-f]{32}):([\w.-]+)$/;
/** Of a task, an actor, a job. */
const ID = /^[0-9a-f]{8,64}$/;

const NDJSON = "application/x-ndjson; charset=utf-8";

type Wanted = Queries["log-lines"]["params"];

export async function logRows(links: Pick<Links, "askAll">): Promise<Gathered<LogRow>> {
  const { answers, partial } = await links.askAll("log-files", null);
  const rows = answers.flatMap(([nodeId, files]) =>
    files.map(({ file, sizeBytes, modifiedAtMs }) => ({
      logId: `${nodeId}:${file}`,
      nodeId,
      file,
      sizeBytes,
      modifiedAtMs,
    })),
  );
  return { rows: rows.sort((a, b) => b.modifiedAtMs - a.modifiedAtMs), partial, asOfMs: wallMs() };
}

const params = z.object({
  logId: z
    .string()
    .openapi({ description: "as /api/v1/logs lists it; or the id of a task, an actor or a job; or pid:123" }),
});
const query = z.object({
  lines: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_000)
    .optional()
    .openapi({ description: "the last so many; default 1000" }),
  search: z.string().optional().openapi({ description: "only lines that contain this" }),
  format: z.enum(["text", "json"]).default("text").openapi({ description: "json: each line as an object of its own" }),
});

export function addLogs(app: OpenAPIHono<Env>, links: Links): void {
  app.openapi(
    createRoute({
      method: "get",
      path: "/api/v1/logs/{logId}/lines",
      request: { params, query },
      responses: {
        200: {
          description:
            "lines: time, job, process, stream, task, actor, name, text; or objects, one a line: timeMs, level, node, source, pid, worker, job, stream, task, actor, name, message",
          content: { "text/plain": { schema: z.string() }, "application/x-ndjson": { schema: z.string() } },
        },
      },
    }),
    async (context) => {
      const { logId } = context.req.valid("param");
      const { lines = LINES, search, format } = context.req.valid("query");
      const reader = new LogReader(links, logId, search ?? null);
      const found =
        format === "text"
          ? await reader.last(lines)
          : (await reader.lastRecords(lines)).map((record) => JSON.stringify(record));
      const text = found.length === 0 ? "" : `${found.join("\n")}\n`;
      return format === "text" ? context.text(text) : (context.body(text, 200, { "content-type": NDJSON }) as never);
    },
  );
  app.get("/api/v1/logs/:logId/follow", async (context) => {
    const { lines = LINES, search, format } = query.parse(context.req.query());
    const reader = new LogReader(links, context.req.param("logId"), search ?? null);
    const isText = format === "text";
    const first = await (isText ? reader.last(lines) : reader.lastRecords(lines));
    return streamSSE(context, async (stream) => {
      await stream.writeSSE({ event: "lines", data: JSON.stringify(first) });
      while (!stream.aborted) {
        await stream.sleep(FOLLOW_MS);
        const more = await (isText ? reader.more() : reader.moreRecords());
        if (more.length > 0) await stream.writeSSE({ event: "lines", data: JSON.stringify(more) });
      }
    });
  });
}

interface ReadLine {
  readonly nodeId: string;
  readonly line: string;
}

const asText = ({ line }: ReadLine): string => lineAsText(line);

/** Reads one log, wherever it lies: on one node, or what of it is on each. */
export class LogReader {
  private readonly links: Links;
  private readonly nodeId: string | undefined;
  private readonly wanted: Omit<Wanted, "lines" | "after">;
  /** How far each node's files were read. */
  private readonly after = new Map<string, Readonly<Record<string, number>>>();

  /** @throws InvalidOptionError for an id that is none. */
  constructor(links: Links, logId: string, search: string | null) {
    this.links = links;
    const [, nodeId, file] = FILE.exec(logId) ?? [];
    const [, pid] = /^pid:(\d+)$/.exec(logId) ?? [];
    if (nodeId === undefined && pid === undefined && !ID.test(logId)) {
      throw new InvalidOptionError(
        `"${logId}" is no log: give nodeId:file, pid:123, or the id of a task, an actor or a job`,
      );
    }
    this.nodeId = nodeId;
    this.wanted = {
      file: file ?? (pid === undefined ? null : `worker-${pid}.log`),
      id: file || pid ? null : logId,
      search,
    };
  }

  async last(lines: number): Promise<readonly string[]> {
    return (await this.readLast(lines)).map(asText);
  }

  async more(): Promise<readonly string[]> {
    return (await this.readMore()).map(asText);
  }

  /** The same as records; of what is no line of Mobula's the text. */
  async lastRecords(lines: number): Promise<readonly LogRecord[]> {
    return (await this.readLast(lines)).map((read) => this.recordOf(read));
  }

  async moreRecords(): Promise<readonly LogRecord[]> {
    return (await this.readMore()).map((read) => this.recordOf(read));
  }

  private async readLast(lines: number): Promise<readonly ReadLine[]> {
    return (await this.read(lines, () => null)).slice(-lines);
  }

  private readMore(): Promise<readonly ReadLine[]> {
    return this.read(LINES, (nodeId) => this.after.get(nodeId) ?? {});
  }

  private recordOf({ nodeId, line }: ReadLine): LogRecord {
    const { file } = this.wanted;
    const record = parseLogLine(line, file ?? "");
    if (record) return { ...record, node: record.node ?? nodeId };
    return {
      ...{ timeMs: timeOfLine(line), level: "info", node: nodeId, source: file ?? "worker", pid: null, worker: null },
      ...{ job: null, stream: null, task: null, actor: null, name: null, message: line },
    };
  }

  private async read(lines: number, afterOf: (nodeId: string) => Wanted["after"]): Promise<readonly ReadLine[]> {
    const nodes = this.nodeId === undefined ? await this.links.known() : [this.nodeId];
    const found: ReadLine[] = [];
    const errors: Error[] = [];
    await Promise.all(
      nodes.map(async (nodeId) => {
        try {
          const question = { ...this.wanted, lines, after: afterOf(nodeId) };
          const answer = await this.links.ask(nodeId, "log-lines", question, READ_MS);
          this.after.set(nodeId, answer.after);
          for (const line of answer.lines) found.push({ nodeId, line });
        } catch (error) {
          errors.push(error as Error);
        }
      }),
    );
    const [error] = errors;
    // Where nobody has it, why not; a process is on one node only.
    if (error && errors.length === nodes.length)
      throw error instanceof MobulaError ? error : new MobulaError("INTERNAL", "internal", error.message);
    return nodes.length > 1 ? found.sort((a, b) => byTime(a.line, b.line)) : found;
  }
}
