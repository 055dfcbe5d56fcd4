/** Beyond this machine the dashboard is encrypted where the cluster's own connections are. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TestCertificates } from "../../src/transport/test-certificates.ts";
import { eventually } from "../eventually.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
const certificates = new TestCertificates();
let folder = "";
beforeEach(() => {
  folder = mkdtempSync("/tmp/mh-");
});
afterEach(async () => {
  await mobula("stop", "--now");
  rmSync(folder, { recursive: true, force: true });
  certificates.remove();
});

const mobula = async (...args: string[]): Promise<string> => {
  const env = { ...process.env, TMPDIR: folder, XDG_STATE_HOME: join(folder, "state") };
  return (await promisify(execFile)(process.execPath, [cli, ...args], { env })).stdout;
};

function get(url: string, authorization: string, ca: string): Promise<number> {
  return new Promise((resolve, reject) => {
    request(url, { headers: { authorization }, ca }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    })
      .on("error", reject)
      .end();
  });
}

test("with the cluster's certificate; plain HTTP is not answered there", async () => {
  certificates.makeAuthority("authority");
  certificates.make("head", "authority");
  const { cert = "", key = "" } = certificates.of("head");
  const tls = ["--tls-cert", cert, "--tls-key", key];
  const small = ["--cpus", "1", "--object-store", "16MiB", "--json"];
  const where = [
    "--head",
    "--host",
    "127.0.0.1",
    "--port",
    "0",
    "--dashboard-host",
    "0.0.0.0",
    "--dashboard-port",
    "0",
  ];
  const { token } = JSON.parse(await mobula("start", ...where, ...tls, ...small)) as { readonly token: string };
  const link = new URL((await mobula("dashboard")).trim());
  expect(link.protocol).toBe("https:");
  const ca = readFileSync(certificates.file("authority.pem"), "utf8");
  await eventually(
    async () => (await get(`${link.origin}/api/v1/nodes`, `Bearer ${token}`, ca)) === 200,
    "the list of nodes",
  );
  expect(await get(`${link.origin}/api/v1/nodes`, "Bearer wrong", ca)).toBe(401);
  await expect(fetch(`http://${link.host}/api/v1/nodes`)).rejects.toThrow();
});

test("--no-dashboard is without it", async () => {
  await mobula("start", "--cpus", "1", "--object-store", "16MiB", "--no-dashboard");
  await expect(mobula("dashboard")).rejects.toThrow(/nothing runs here/);
});
