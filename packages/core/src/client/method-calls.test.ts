import { expect, test } from "vitest";
import type { Client } from "./client.ts";
import { Handle } from "./handles.ts";
import { bindMethod, setMethodOverrides } from "./method-calls.ts";

interface Told {
  readonly id: number;
  readonly displayName: string;
}

function bind() {
  const methods: Told[] = [];
  const called: number[] = [];
  let registered = 0;
  const client = {
    run: <T>(fn: () => T) => fn(),
    takeRegistration: () => ++registered,
    takeSeqs: () => 1,
    countSubmission() {},
    track: () => ({}),
    values: { encodeArgs: () => ({ args: new Uint8Array(0), deps: [], nested: [] }) },
    port: {
      method: (method: Told) => methods.push(method),
      call: (_seq: number, _actor: number, registration: number) => called.push(registration),
    },
  } as unknown as Client;
  setMethodOverrides((overrides, base) => ({ meta: { ...base, ...(overrides as object) }, numReturns: 1 }));
  const plain = { className: "A", concurrency: 1, groups: [], maxPendingCalls: -1, maxTaskRetries: 0, methods: [] };
  const meta = Handle.newMeta(plain);
  const handle = Handle.make(client, 1, "a" as never, meta);
  return { bound: bindMethod(client, handle, "run", meta.assumed, 1), methods, called };
}

test("equal options are registered once", () => {
  const { bound, methods, called } = bind();
  for (let call = 0; call < 100; call++) bound.options({ name: "same" }).remote();
  bound.remote();
  expect(methods.map(({ displayName }) => displayName)).toEqual(["", "same"]);
  expect(new Set(called)).toEqual(new Set(methods.map(({ id }) => id)));
});

test("options that differ at each call use a limited number of registrations, each under its last settings", () => {
  const { bound, methods, called } = bind();
  const kept = bound.options({ name: "kept" });
  for (let call = 0; call < 5_000; call++) bound.options({ name: `call ${call}` }).remote();
  expect(new Set(methods.map(({ id }) => id)).size).toBe(1_000);
  kept.remote();
  const settings = new Map(methods.map(({ id, displayName }) => [id, displayName]));
  expect(settings.get(called.at(-1) ?? 0)).toBe("kept");
});
