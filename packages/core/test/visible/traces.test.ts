/** Traces reach a real receiver of OTLP: the OpenTelemetry Collector, which passes on to the test what it understood. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";

const receiver = join(import.meta.dirname, "../../../../.cache/trace-receiver/trace-receiver");
const fixtures = join(import.meta.dirname, "fixtures");
const setup = join(fixtures, "instrumentation.mjs");
const api = join(import.meta.dirname, "../../src/api/mod.ts");
const folder = newFolder();

type Value = { stringValue?: string; intValue?: string; boolValue?: boolean };
type Attributes = readonly { readonly key: string; readonly value: Value }[];
interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly attributes?: Attributes;
  readonly events?: readonly { readonly name: string; readonly attributes: Attributes }[];
  readonly status: { readonly code?: number; readonly message?: string };
}
interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: Attributes };
    readonly scopeSpans: readonly { readonly spans: readonly Span[] }[];
  }[];
}

const INTERNAL = 1;
const PRODUCER = 4;
const CONSUMER = 5;
const FAILED = 2;

const spans: Span[] = [];
const server = createServer(async (request, response) => {
  const { resourceSpans } = JSON.parse(Buffer.concat(await request.toArray()).toString()) as Export;
  for (const { scopeSpans } of resourceSpans) for (const scope of scopeSpans) spans.push(...scope.spans);
  response.end();
});
let collector: ChildProcess | undefined;
let endpoint = "";

beforeEach(() => {
  spans.length = 0;
});
afterAll(() => {
  collector?.kill();
  server.close();
});

const plain = (list: Attributes = []): Record<string, unknown> =>
  Object.fromEntries(list.map(({ key, value }) => [key, Object.values(value)[0]]));
const named = (name: string): Span[] => spans.filter((span) => span.name === name);
/** The name of a span, then of its parent and so on. */
const line = (span: Span | undefined): string[] =>
  span ? [span.name, ...line(spans.find(({ spanId }) => spanId === span.parentSpanId))] : [];

async function run(address: string, env: NodeJS.ProcessEnv, ...options: readonly string[]) {
  const program = [...options, "--conditions=mobula-source", join(fixtures, "traced.ts"), address];
  const { stdout } = await promisify(execFile)(process.execPath, program, {
    env: { ...process.env, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, ...env },
    timeout: 50_000,
  });
  return JSON.parse(stdout) as { told: number[]; items: number[]; failed: string };
}

describe.skipIf(!existsSync(receiver))("OTLP (needs scripts/trace-receiver/build.sh)", () => {
  beforeAll(async () => {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const free = createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const { port } = free.address() as AddressInfo;
    free.close();
    endpoint = `http://127.0.0.1:${port}`;
    const back = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const config = {
      receivers: { otlp: { protocols: { http: { endpoint: `127.0.0.1:${port}` } } } },
      // Without a queue what was exported is here when the exporter is told that it was.
      exporters: {
        otlp_http: { endpoint: back, encoding: "json", compression: "none", sending_queue: { enabled: false } },
      },
      service: { pipelines: { traces: { receivers: ["otlp"], exporters: ["otlp_http"] } } },
    };
    const file = join(folder, "receiver.yaml");
    writeFileSync(file, JSON.stringify(config));
    collector = spawn(receiver, ["--config", file], { stdio: "inherit" });
    await eventually(
      () =>
        new Promise<boolean>((resolve) => {
          const socket = connect(port, "127.0.0.1", () => resolve(true)).once("error", () => resolve(false));
          socket.once("connect", () => socket.destroy());
        }),
      "the receiver listens",
    );
  });

  test.each(["local", "inline"])("%s: one trace from the driver through tasks to actors", async (address) => {
    const result = await run(address, { MOBULA_TRACING: setup });
    // No function saw an argument more than it was given, and the setup ran once.
    expect(result).toMatchObject({ told: [0, 2, 1, 1], items: [0, 1, 0, 1] });
    expect(result.failed).toMatch(/again/);

    const inTrace = spans.filter(({ traceId }) => traceId === named("driver")[0]?.traceId);
    expect(inTrace.map(({ name }) => name).sort()).toEqual(
      [
        ...["driver", "submit outer", "outer", "submit inner", "inner", "submit Tally.add", "Tally.add"],
        ...["submit counting", "counting", "submit Tally.count", "Tally.count", "submit failing", "failing", "failing"],
      ].sort(),
    );
    expect(line(named("inner")[0])).toEqual(["inner", "submit inner", "outer", "submit outer", "driver"]);
    expect(line(named("Tally.add")[0])).toEqual(["Tally.add", "submit Tally.add", "outer", "submit outer", "driver"]);
    expect(line(named("counting")[0])).toEqual(["counting", "submit counting", "driver"]);
    // It was made before the span began: a trace of its own.
    expect(line(named("Tally.constructor")[0])).toEqual(["Tally.constructor", "submit Tally.constructor"]);

    const kinds = new Set(
      inTrace.map(({ name, kind }) => `${name === "driver" ? name : name.split(" ").length} ${kind}`),
    );
    expect([...kinds].sort()).toEqual([`1 ${CONSUMER}`, `2 ${PRODUCER}`, `driver ${INTERNAL}`]);
    const [outer] = named("outer");
    expect(plain(outer?.attributes)).toEqual({
      "code.function.name": "outer",
      "mobula.attempt": expect.anything(),
      "mobula.job_id": expect.stringMatching(/^[0-9a-f]{8}$/),
      "mobula.node_id": expect.any(String),
      "mobula.task_id": expect.stringMatching(/^[0-9a-f]+$/),
      "set.inside": true,
    });
    expect(plain(named("Tally.add")[0]?.attributes)["mobula.actor_id"]).toEqual(
      plain(named("Tally.constructor")[0]?.attributes)["mobula.actor_id"],
    );

    const attempts = named("failing");
    const errors = attempts.map(({ attributes, events = [], status }) => ({
      attempt: Number(plain(attributes)["mobula.attempt"]),
      code: status.code,
      exceptions: events.map((event) => plain(event.attributes)["exception.type"]),
    }));
    expect(errors.sort((left, right) => left.attempt - right.attempt)).toEqual([
      { attempt: 0, code: FAILED, exceptions: ["RangeError"] },
      { attempt: 1, code: FAILED, exceptions: ["TypeError"] },
    ]);
  });

  test("what the program was started with by --import is in its workers too", async () => {
    const { told } = await run("local", { MOBULA_TRACING: "1" }, "--import", setup);
    expect(told.at(-1)).toBe(1);
    expect(line(named("inner")[0])).toEqual(["inner", "submit inner", "outer", "submit outer", "driver"]);
  });

  test("nothing of Mobula is exported while it is off", async () => {
    await run("local", {}, "--import", setup);
    const names = new Set(spans.map(({ name }) => name));
    expect([...names].filter((name) => name !== "driver")).toEqual([]);
  });
});

test("a setup that is not there, and an API that is not there, are told by init", async () => {
  await expect(run("local", { MOBULA_TRACING: "./nowhere.mjs" })).rejects.toThrow(
    /InvalidOptionError.*"tracing.setup" is ".\/nowhere.mjs", which is not there/,
  );
  const program = 'import("mobula").then(({ init }) => init({ address: "inline", tracing: true }))';
  await expect(
    promisify(execFile)(process.execPath, ["--conditions=mobula-source", "-e", program.replace("mobula", api)], {
      cwd: folder,
    }),
  ).rejects.toThrow(/InvalidOptionError.*npm install @opentelemetry\/api/);
});
