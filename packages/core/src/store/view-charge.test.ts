import { describe, expect, it } from "vitest";
import { createViewCharge, OTHERS_GROWTH_BYTES_MAX, RELAX_BYTES_MIN } from "./view-charge.ts";

function charge(): ReturnType<typeof createViewCharge> & {
  readonly flags: string[];
  external: number;
  collections: number;
} {
  const seen = { flags: [] as string[], external: 0, collections: 0 };
  const made = createViewCharge({
    areCharged: () => true,
    externalBytes: () => seen.external,
    collect: () => {
      seen.collections++;
    },
    setFlag: (flag) => void seen.flags.push(flag.startsWith("--no-") ? "off" : "on"),
  });
  return Object.assign(seen, made);
}

describe("V8's charge for views", () => {
  it("is weighed against the whole limit while there are large views, and not before or after", () => {
    const v8 = charge();
    v8.changed(RELAX_BYTES_MIN - 1);
    expect(v8.flags).toEqual([]);
    v8.changed(1);
    v8.changed(1);
    expect(v8.flags).toEqual(["on"]);
    v8.check();
    v8.changed(-2);
    v8.check();
    expect(v8.flags).toEqual(["on", "off"]);
    v8.changed(2);
    v8.close();
    expect(v8.flags).toEqual(["on", "off", "on", "off"]);
  });

  it("does not hide what native packages hold: when that has grown, it is looked through", () => {
    const v8 = charge();
    v8.external = 100;
    v8.changed(2 * RELAX_BYTES_MIN);
    v8.external += 2 * RELAX_BYTES_MIN + OTHERS_GROWTH_BYTES_MAX;
    v8.check();
    expect(v8.collections).toBe(0);
    v8.external += 1;
    v8.check();
    v8.check();
    expect(v8.collections).toBe(1);
    v8.changed(10 * RELAX_BYTES_MIN);
    v8.external += 10 * RELAX_BYTES_MIN;
    v8.check();
    expect(v8.collections).toBe(1);
    v8.close();
  });
});
