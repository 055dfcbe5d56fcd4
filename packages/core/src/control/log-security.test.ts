import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { etcdServer, natsServer, startEtcd, startNats } from "./fixtures/servers.ts";
import { commit } from "./fixtures/suite.ts";
import { openReplicatedLog } from "./log-location.ts";
import { openLogState } from "./state-log.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mobula-certificates-"));
  const openssl = (...args: string[]): void => void execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2");
  for (const name of ["server", "client"]) {
    const signed = [
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca.key",
      "-CAcreateserial",
      "-days",
      "2",
      "-copy_extensions",
      "copyall",
    ];
    openssl(
      "req",
      ...key,
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.csr`,
      "-subj",
      `/CN=${name}`,
      "-addext",
      "subjectAltName=IP:127.0.0.1",
    );
    openssl("x509", "-req", "-in", `${name}.csr`, "-out", `${name}.pem`, ...signed);
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const file = (name: string): string => join(folder, name);
const tlsQuery = (): string => `ca=${file("ca.pem")}&cert=${file("client.pem")}&key=${file("client.key")}`;

async function works(location: string): Promise<void> {
  const state = await openLogState(await openReplicatedLog(location));
  expect(await commit(state, { key: "k", value: Buffer.from("v") })).toMatchObject({ kind: "committed" });
  await state.close();
}

describe.skipIf(natsServer === undefined)("NATS", () => {
  test("with users lets in who has the password, and says who has not", async () => {
    const servers = await startNats(1, { more: 'authorization { user: "mobula", password: "p@ss:word" }' });
    try {
      const at = (login: string) => `nats://${login}${servers.addresses[0]}/c?replicas=1`;
      await works(at(`mobula:${encodeURIComponent("p@ss:word")}@`));
      for (const login of ["", "mobula:wrong@"]) {
        await expect(openReplicatedLog(at(login))).rejects.toMatchObject({ code: "AUTHENTICATION" });
      }
    } finally {
      await servers.stop();
    }
  });

  test("with a token and mutual TLS is reached with both", async () => {
    const tls = `tls { cert_file: "${file("server.pem")}", key_file: "${file("server.key")}", ca_file: "${file("ca.pem")}", verify: true }`;
    const servers = await startNats(1, { more: `authorization { token: "a-token" }\n${tls}` });
    try {
      await works(`nats://a-token@${servers.addresses[0]}/c?replicas=1&${tlsQuery()}`);
      // The certificate is for this address, not for that name of it.
      const named = servers.addresses[0]?.replace("127.0.0.1", "localhost");
      await expect(openReplicatedLog(`nats://a-token@${named}/c?replicas=1&${tlsQuery()}`)).rejects.toMatchObject({
        code: "AUTHENTICATION",
        message: expect.stringContaining("altnames"),
      });
    } finally {
      await servers.stop();
    }
  });
});

describe.skipIf(etcdServer === undefined)("etcd", () => {
  test("with users lets in who has the password, and says who has not", async () => {
    const servers = await startEtcd(1);
    try {
      const [server = ""] = servers.addresses;
      await works(server.replace("http", "etcd").concat("/before"));
      const password = "p@ss:word";
      for (const [path, body] of [
        ["role/add", { name: "root" }],
        ["user/add", { name: "root", password }],
        ["user/grant", { user: "root", role: "root" }],
        ["enable", {}],
      ] as const) {
        const { status } = await fetch(`${server}/v3/auth/${path}`, { method: "POST", body: JSON.stringify(body) });
        expect(status, path).toBe(200);
      }
      const at = (login: string) => `${server.replace("http://", `etcd://${login}`)}/c`;
      await works(at(`root:${encodeURIComponent(password)}@`));
      for (const login of ["", "root:wrong@"]) {
        await expect(openReplicatedLog(at(login))).rejects.toMatchObject({ code: "AUTHENTICATION" });
      }
    } finally {
      await servers.stop();
    }
  });

  test("with mutual TLS is reached with a certificate", async () => {
    const tls = ["--cert-file", file("server.pem"), "--key-file", file("server.key")];
    const extra = [...tls, "--trusted-ca-file", file("ca.pem"), "--client-cert-auth"];
    const servers = await startEtcd(1, extra, "https");
    try {
      await works(`${servers.addresses[0]?.replace("https", "etcds")}/c?${tlsQuery()}`);
    } finally {
      await servers.stop();
    }
  });
});
