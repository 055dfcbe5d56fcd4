import { expect, test } from "vitest";
import { openReplicatedLog } from "./log-location.ts";

test.each(["http://host/cluster", "nats://host:4222", "nats:///cluster", "nats://secret@host/bad name"])(
  "a location that cannot be read (%s) is refused without telling what may be a secret",
  async (location) => {
    const error = await openReplicatedLog(location).catch((error: Error) => error);
    expect(error).toMatchObject({ code: "INVALID_OPTION" });
    expect((error as Error).message).not.toContain("secret");
  },
);

test("a setting that a kind does not have is refused by name", async () => {
  await expect(openReplicatedLog("etcd://host:2379/c?replicas=3")).rejects.toMatchObject({
    code: "INVALID_OPTION",
    message: 'replicated state in etcd has no setting "replicas"; it has compact, ca, cert, key',
  });
});
