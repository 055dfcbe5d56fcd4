/** Peers are installed where the benchmark runs, at exact versions, and never become dependencies of Mobula. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { access } from "node:fs/promises";
import { join } from "node:path";
import type { SideCommand } from "../harness/side.ts";

const benchFolder = join(import.meta.dirname, "..");

/**
 * Ray without its optional parts ("ray[default]" adds dashboard processes that cost memory and time): the strictest
 * comparison. numpy is what its large objects are made of.
 */
const RAY_PACKAGES = ["ray==2.58.0", "numpy==2.3.5"];
const RAY_TOOLS = "ray[default]==2.58.0";
const PISCINA_PACKAGE = "piscina@5.3.2";

export async function rayCommand(log: (line: string) => void): Promise<SideCommand> {
  const folder = join(benchFolder, ".venv");
  const python = join(folder, "bin", "python");
  const script = join(benchFolder, "peers", "ray", "side.py");
  if (!(await exists(python))) {
    log(`installing ${RAY_PACKAGES.join(" and ")} into bench/.venv`);
    await run("python3", ["-m", "venv", folder]);
  }
  // Also when the folder is there: a version that changed here is then installed, and nothing else happens.
  await run(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ...RAY_PACKAGES]);
  const version = (await run(python, [script, "--version"])).trim();
  return {
    name: "ray",
    command: python,
    args: [script],
    env: { RAY_USAGE_STATS_ENABLED: "0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO: "0", PYTHONWARNINGS: "ignore" },
    version: `Ray ${version}`,
  };
}

/** Ray with its dashboard and its job service, for the tests of its tools; the folder of its programs. */
export async function rayTools(log: (line: string) => void): Promise<string> {
  const folder = join(benchFolder, "..", ".cache", "ray-default", "venv");
  const python = join(folder, "bin", "python");
  if (!(await exists(python))) {
    log(`installing ${RAY_TOOLS} into .cache/ray-default`);
    await run("python3", ["-m", "venv", folder]);
  }
  await run(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", RAY_TOOLS]);
  return join(folder, "bin");
}

export async function piscinaCommand(log: (line: string) => void): Promise<SideCommand> {
  const folder = join(benchFolder, ".cache", "piscina");
  if (!(await exists(join(folder, "node_modules", "piscina", "package.json")))) {
    log(`installing ${PISCINA_PACKAGE} into bench/.cache/piscina`);
    await run("npm", ["install", "--silent", "--no-save", "--prefix", folder, PISCINA_PACKAGE]);
  }
  return {
    name: "piscina",
    command: process.execPath,
    args: [join(benchFolder, "peers", "piscina", "side.ts"), folder],
    version: `Piscina ${PISCINA_PACKAGE.split("@")[1]} (threads)`,
  };
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

/** Runs to the end and gives the standard output. */
async function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, [...args], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} failed with exit code ${code}:\n${errors.trim()}`);
  return output;
}
