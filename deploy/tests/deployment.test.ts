/** What is deployed is checked by those who will read it: schemas of Kubernetes, systemd, and the options of `mobula` itself. */
import { execFile, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { parseClusterFile } from "../../packages/core/src/bin/cluster-file.ts";

const folder = join(import.meta.dirname, "..");
const read = (...path: string[]): string => readFileSync(join(folder, ...path), "utf8");
const cli = join(folder, "../packages/core/src/bin/mobula.ts");
const run = promisify(execFile);

const manifests = readdirSync(join(folder, "kubernetes")).filter((name) => name !== "kustomization.yaml");
const documents = manifests.flatMap((name) => parseAllDocuments(read("kubernetes", name)).map((one) => one.toJS()));

/** An option that `mobula start` does not know is refused before anything is begun. */
async function accepts(args: readonly string[]): Promise<void> {
  const { stdout } = await run(process.execPath, [cli, ...args, "--help"]);
  const known = new Set(stdout.match(/--[a-z-]+/g));
  for (const arg of args.filter((one) => one.startsWith("--"))) {
    expect(known, `${arg} of mobula ${args[0]}`).toContain(arg.split("=")[0]);
  }
}

const schemas = spawnSync("python3", ["-c", "import kubernetes_validate"]).status === 0;

describe("Kubernetes", () => {
  test.skipIf(!schemas)("the manifests are valid, strictly (needs the Python package kubernetes-validate)", () => {
    const script = `import json, sys, kubernetes_validate
for document in json.load(sys.stdin): kubernetes_validate.validate(document, "1.31", strict=True)
print("valid")`;
    const check = (given: unknown) =>
      spawnSync("python3", ["-c", script], { input: JSON.stringify(given), encoding: "utf8" });
    expect(check(documents)).toMatchObject({ stdout: "valid\n", status: 0 });
    // It would have been said: a copy with a word that does not exist is refused.
    const [first] = documents;
    expect(check([{ ...first, spec: { ...first.spec, replicsa: 1 } }]).status).not.toBe(0);
  });

  const pods = documents.flatMap(({ kind, spec }) =>
    ["StatefulSet", "Deployment"].includes(kind) ? [spec.template.spec] : [],
  );
  const containers = pods.flatMap((pod) => pod.containers);

  test("head and workers run without privileges, with the token as a file, and are probed", () => {
    expect(pods).toHaveLength(2);
    for (const pod of pods) {
      expect(pod.securityContext).toMatchObject({ runAsNonRoot: true });
      expect(pod.volumes).toContainEqual({ name: "token", secret: { secretName: "mobula-token", defaultMode: 0o440 } });
    }
    for (const container of containers) {
      expect(container.securityContext).toMatchObject({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
      });
      expect(container.args).toContain("--token-file=/etc/mobula/token");
      const ports = Object.fromEntries(
        container.ports.map((port: { name: string; containerPort: number }) => [port.name, port.containerPort]),
      );
      for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"]) {
        const { path, port } = container[probe].httpGet;
        expect(path).toBe(probe === "livenessProbe" ? "/healthz" : "/readyz");
        expect(container.args.join(" ")).toMatch(new RegExp(`health-port=${ports[port]}\\b`));
      }
    }
    for (const text of manifests.map((name) => read("kubernetes", name)))
      expect(text).not.toMatch(/MOBULA_TOKEN|kind: Secret/);
  });

  test("a worker that ends is drained first, within the time that it is given", () => {
    const worker = pods.find((pod) => pod.containers[0].lifecycle);
    expect(worker.containers[0].lifecycle.preStop.exec.command).toEqual(["mobula", "drain", "--deadline", "60s"]);
    expect(worker.terminationGracePeriodSeconds).toBeGreaterThan(60 + 5);
  });

  test("mobula knows all options that they are started with", async () => {
    for (const { args } of containers) await accepts(args);
    await accepts(["drain", "--deadline", "60s"]);
  });
});

describe("systemd", () => {
  const units = readdirSync(join(folder, "systemd"));
  const hasVerify = spawnSync("systemd-analyze", ["--version"]).status === 0;

  test.skipIf(!hasVerify)("the units are valid (needs systemd-analyze)", () => {
    // Somewhere else than here the program lies where they say.
    const temporary = mkdtempSync("/tmp/md-");
    try {
      writeFileSync(join(temporary, "mobula"), "#!/bin/sh\n");
      chmodSync(join(temporary, "mobula"), 0o755);
      for (const unit of units) {
        writeFileSync(
          join(temporary, unit),
          read("systemd", unit).replaceAll("/usr/bin/mobula", join(temporary, "mobula")),
        );
      }
      const paths = units.map((unit) => join(temporary, unit));
      const { status, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", ...paths], { encoding: "utf8" });
      expect(stderr.split("\n").filter((line) => line.includes(temporary))).toEqual([]);
      expect(status).toBe(0);
      writeFileSync(paths[0] ?? "", "[Service]\nExecStart=nowhere\n");
      expect(spawnSync("systemd-analyze", ["verify", "--man=no", paths[0] ?? ""]).status).not.toBe(0);
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  });

  test("they hand their cgroup over, go on when a worker is ended in it, and keep on disk what is not to be memory", () => {
    for (const unit of units) {
      const lines = read("systemd", unit).split("\n");
      expect(lines).toEqual(expect.arrayContaining(["Delegate=yes", "OOMPolicy=continue", "CacheDirectory=mobula"]));
      expect(lines.find((line) => line.startsWith("ExecStart="))).toMatch(
        / --spill-directory \$\{CACHE_DIRECTORY\}\/spill /,
      );
      expect(lines.find((line) => line.startsWith("Environment="))).toContain("MOBULA_CACHE_DIR=/var/cache/mobula");
    }
  });

  test("mobula knows all options that they are started with", async () => {
    for (const unit of units) {
      const [, line = ""] = /^ExecStart=\/usr\/bin\/mobula (.*)$/m.exec(read("systemd", unit)) ?? [];
      await accepts(line.split(" ").filter((word) => word !== "$MOBULA_OPTIONS"));
    }
  });
});

describe("the image", () => {
  const lines = read("Dockerfile").split("\n");

  test("is built in stages, runs as nobody special, and holds nothing secret", () => {
    expect(lines.filter((line) => line.startsWith("FROM ")).length).toBeGreaterThan(1);
    const user = lines.findLast((line) => line.startsWith("USER "));
    expect(Number(user?.slice(5))).toBeGreaterThan(0);
    expect(lines.filter((line) => /^(ENV|ARG|LABEL)\b.*(TOKEN|SECRET|PASSWORD|KEY)/i.test(line))).toEqual([]);
    expect(read("Dockerfile.dockerignore").split("\n")).toContain(".git");
  });

  test("mobula knows the options that it starts with", async () => {
    const [, command = "[]"] = /^CMD (\[.*\])$/m.exec(lines.filter((line) => line.startsWith("CMD ")).join("\n")) ?? [];
    await accepts(JSON.parse(command) as string[]);
  });
});

test("the example for `mobula up` is one", () => {
  expect(parseClusterFile(read("cluster.yaml"))).toMatchObject({
    head: { host: "10.0.0.1", args: ["--port", "6380"] },
    nodes: [{ host: "10.0.0.2" }, { host: "10.0.0.3" }],
  });
});
