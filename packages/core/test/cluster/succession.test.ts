/** Objects outlive their owner, its process and its node, while somebody holds them; and go with the last who does. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ActorHandle, get, getActor, kill, nodes, type ObjectRef, put, remote } from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { Program } from "../failures/programs.ts";

const MIB = 2 ** 20;
let cluster: LocalCluster;
const spec = (name: string) => ({ name, resources: { cpu: 2, [name]: 4 }, objectStoreBytes: 64 * MIB });
const on = (name: string) => ({ numCpus: 0, resources: { [name]: 0.1 } });

beforeAll(async () => {
  cluster = await LocalCluster.start({ nodes: ["one", "two"].map(spec) });
  const [one] = cluster.nodes;
  if (one) await cluster.connect({ node: one, namespace: "tests" });
});
afterAll(() => cluster.stop());

interface Keeper {
  read(): string[];
  drop(): void;
}
class Reader {
  private kept: ObjectRef<unknown>[] = [];
  keep(refs: ObjectRef<unknown>[]): void {
    this.kept.push(...refs);
  }
  async read(): Promise<string[]> {
    const said: string[] = [];
    for (const ref of this.kept)
      said.push(
        await get(ref).then(
          (value) => (value instanceof Uint8Array ? `${value.length}x${value[0]}` : JSON.stringify(value)),
          ({ code }: { code: string }) => code,
        ),
      );
    return said;
  }
  async readInner(): Promise<string[]> {
    const inner = (await get(this.kept as ObjectRef<ObjectRef<string>[]>[])).flat();
    return get(inner);
  }
}
const keep = remote(Reader);

async function storesAreEmpty(): Promise<void> {
  await eventually(
    async () => (await nodes()).every(({ state, objectStore }) => state === "dead" || objectStore.usedBytes === 0),
    "all stores are empty",
  );
}

test.each(["ended", "killed"])(
  "a detached actor reads what a driver made that was %s, whose node has gone with it",
  async (how) => {
    const program = new Program("../../cluster/fixtures/leaves-refs.ts", how, {
      args: ["tests"],
      env: { ...cluster.env },
    });
    try {
      await program.line("given");
      if (how === "killed") program.kill();
      await program.exitWithin(20_000);
      const gone = async (): Promise<boolean> =>
        (await nodes()).every(({ name, state }) => !name.startsWith("driver-") || state === "dead");
      await eventually(gone, "the driver's node is known to be gone");
      const keeper = (await getActor(how)) as ActorHandle<Keeper>;
      expect(await get(keeper.read.remote())).toEqual(["small", "[inner]", `${MIB}x7`, `${2 * MIB}x3`]);
      await get(keeper.drop.remote());
      await storesAreEmpty();
      await kill(keeper);
    } finally {
      program.remove();
    }
  },
  60_000,
);

test("what an actor made is read when its node was killed, by whoever has a copy or its value, and through values that mention it", async () => {
  const three = await cluster.addNode(spec("three"));
  class Maker {
    make(): unknown[] {
      return [put("small"), put(new Uint8Array(MIB).fill(4)), put([put("inner")])];
    }
  }
  const maker = remote(Maker).options(on("three")).remote();
  const [small, large, nested] = (await get(maker.make.remote())) as [
    ObjectRef<unknown>,
    ObjectRef<Uint8Array>,
    ObjectRef<unknown>,
  ];
  const [first, second] = [keep.options(on("one")).remote(), keep.options(on("two")).remote()];
  await get([first.keep.remote([nested]), second.keep.remote([small, large])]);
  // A copy at node two.
  expect(
    await get(
      remote((bytes: Uint8Array) => bytes[0])
        .options(on("two"))
        .remote(large),
    ),
  ).toBe(4);
  await cluster.kill(three);
  await eventually(
    async () => (await nodes()).some(({ name, state }) => name === "three" && state === "dead"),
    "it is known dead",
  );
  expect(await get(second.read.remote())).toEqual(['"small"', `${MIB}x4`]);
  expect(await get(first.readInner.remote())).toEqual(["inner"]);
  expect(await get(small)).toBe("small");
  small[Symbol.dispose]();
  large[Symbol.dispose]();
  nested[Symbol.dispose]();
  await kill(first);
  expect(await get(second.read.remote())).toEqual(['"small"', `${MIB}x4`]);
  await kill(second);
  await storesAreEmpty();
}, 60_000);
