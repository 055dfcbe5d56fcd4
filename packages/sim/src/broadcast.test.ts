import { expect, test } from "vitest";
import { broadcast, LINKS } from "./broadcast.ts";

const MIB = 2 ** 20;

test("an object that many nodes want at once flows through each of them once: 60 take little longer than one", async () => {
  for (const link of LINKS.slice(0, 2)) {
    const options = { ...link, readBytes: MIB, bytes: 512 * MIB };
    const one = await broadcast({ ...options, nodes: 1 });
    expect(one, "it takes the link's time").toBeGreaterThan((options.bytes / link.bytesPerSecond) * 1_000);
    expect((await broadcast({ ...options, nodes: 60 })) / one).toBeLessThan(1.3);
  }
});
