/** `mobula start --head --state nats://…` (or `etcd://…`) on two machines, as their users see it. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { etcdServer, natsServer, startEtcd, startNats } from "../../src/control/fixtures/servers.ts";
import type { HeadsInfo } from "../../src/wire/queries.ts";
import { eventually } from "../eventually.ts";
import { Machines, SMALL } from "./machines.ts";

const kinds = [
  { scheme: "nats", program: natsServer, start: startNats },
  { scheme: "etcd", program: etcdServer, start: startEtcd },
] as const;

describe.each(kinds)("on state in $scheme", ({ scheme, program, start }) => {
  test.skipIf(program === undefined)(
    "the second head stands by, says who leads, and leads when the first has ended",
    {
      timeout: 120_000,
    },
    async () => {
      const servers = await start(3);
      const machines = new Machines(2);
      const state = `${scheme}://${servers.addresses.join(",").replaceAll("http://", "")}/cluster`;
      const token = randomBytes(32).toString("hex");
      const begin = async (at: number, env: object): Promise<string> => {
        const where = ["--head", "--host", "127.0.0.1", "--port", "0", "--name", `m${at}`, ...SMALL, "--json"];
        const said = await machines.mobula(
          at,
          env,
          "start",
          ...where,
          ...("MOBULA_STATE" in env ? [] : ["--state", state]),
        );
        return (JSON.parse(said) as { address: string }).address;
      };
      const headsAt = async (at: number): Promise<HeadsInfo> =>
        (JSON.parse(await machines.mobula(at, {}, "status", "--json")) as { heads: HeadsInfo }).heads;
      try {
        await expect(begin(0, {})).rejects.toThrow(/need the same token/);
        await expect(
          machines.mobula(
            0,
            { MOBULA_TOKEN: token },
            "start",
            "--head",
            "--state",
            state.replace("://", "://me:secret@"),
          ),
        ).rejects.toThrow(/MOBULA_STATE/);
        const first = await begin(0, { MOBULA_TOKEN: token });
        // Another token: it is no standby of this cluster, and both say so.
        await expect(begin(1, { MOBULA_TOKEN: randomBytes(32).toString("hex"), MOBULA_STATE: state })).rejects.toThrow(
          `the head at ${first}, which leads on the state in ${state}, refuses this one: the token is wrong`,
        );
        expect(await machines.mobula(0, {}, "status")).toMatch(
          /refused in the last minute: \S*127\.0\.0\.1: the token is wrong/,
        );
        const second = await begin(1, { MOBULA_TOKEN: token, MOBULA_STATE: state });
        await eventually(async () => (await headsAt(0)).standbys.includes(second), "the standby is known");
        expect(await headsAt(1)).toMatchObject({ leader: first, epoch: 1, state });
        expect(await machines.nodes(1)).toEqual({ m0: "alive", m1: "alive" });
        // For people it says the same.
        const asked = await machines.mobula(1, {}, "status");
        expect(asked).toContain(`cluster at ${first}: 2 nodes alive`);
        expect(asked).toContain(`standing by: ${second}; state in ${state}`);
        expect(await machines.mobula(0, {}, "stop", "--now")).toContain(
          `The head has ended; its cluster's state stays in`,
        );
        await eventually(
          async () => (await headsAt(1).catch(() => undefined))?.leader === second,
          "the other one leads",
        );
        expect(await headsAt(1)).toMatchObject({ epoch: 2, standbys: [] });
        expect(await machines.nodes(1)).toMatchObject({ m1: "alive" });
      } finally {
        await machines.remove();
        await servers.stop();
      }
    },
  );
});
