import { expect, test } from "vitest";
import { type BroadcastOptions, broadcast, LINKS } from "./broadcast.ts";

const MIB = 2 ** 20;
const NODES = 400;
/** Of 1 and of 10 Gbit/s. What one read brings is much for both: a hop takes longer than it does over sockets. */
const options = LINKS.slice(0, 2).map((link) => ({ ...link, readBytes: MIB, bytes: 512 * MIB }));

/** How long it takes, for one and for each of many. */
async function times(
  each: Omit<BroadcastOptions, "nodes">,
  nodes = NODES,
): Promise<{ one: number; many: readonly number[] }> {
  const [one = 0] = await broadcast({ ...each, nodes: 1 });
  expect(one, "it takes the link's time").toBeGreaterThan((each.bytes / each.bytesPerSecond) * 1_000);
  return { one, many: await broadcast({ ...each, nodes }) };
}

test("an object that many nodes want at once takes little longer than to one, on slow links and on fast ones", async () => {
  for (const each of options) {
    const { one, many } = await times(each);
    expect(Math.max(...many) / one).toBeLessThan(1.1);
  }
});

test("nor does it where they come one after the other, while it is under way", async () => {
  for (const each of options) {
    const halfMs = (each.bytes / each.bytesPerSecond) * 500;
    const { one, many } = await times({ ...each, withinMs: halfMs, readBytes: MIB / 4 }, NODES / 2);
    expect(Math.max(...many) / one).toBeLessThan(1.1);
  }
});

test("a slow node holds up only those to whom it passes on a half, and these go on with others", async () => {
  for (const each of options) {
    const { one, many } = await times({ ...each, slow: [20] });
    const held = many.filter((ms) => ms / one > 1.1);
    expect(many[20]).toBeGreaterThan(9 * one);
    expect(held.length).toBeLessThan(NODES / 8);
    expect(held.toSorted((a, b) => b - a)[1]).toBeLessThan(2.5 * one);
  }
});
