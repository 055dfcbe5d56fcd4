/**
 * A Linux kernel of its own as a process of this machine, with this machine's files (read-only) and cgroups of version 2: for what
 * this machine's own kernel does not offer, or only to those who may change the machine. `scripts/user-mode-linux.sh` installs it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const repository = join(import.meta.dirname, "../../..");
const folder = join(repository, ".cache/user-mode-linux");
const TIMEOUT_MS = 170_000;
/** Where the guest may write. It must hide neither the repository, which may lie in /tmp, nor Node.js. */
const scratch = ["/mnt", "/srv", "/media"].find(
  (folder) => existsSync(folder) && ![repository, process.execPath].some((path) => path.startsWith(`${folder}/`)),
);

/** Whether the kernel is installed. */
export const hasKernel = existsSync(join(folder, "installed"));
/** In the order of their names. */
const modules = hasKernel ? readdirSync(folder).filter((name) => name.endsWith(".ko")) : [];

export interface GuestOptions {
  /** As the kernel takes it, "1536M". */
  readonly memory: string;
  /** With bridges, veth and netem; default false. */
  readonly withNetworks?: boolean;
}

/** Runs commands of a shell as the guest's first process; returns what they have printed. */
export async function runInGuest(commands: string, options: GuestOptions): Promise<string> {
  const { memory, withNetworks = false } = options;
  if (scratch === undefined) throw new Error("there is no folder for the guest to write to");
  const own = mkdtempSync("/tmp/mu-");
  const script = join(own, "init.sh");
  const loaded = withNetworks ? modules : [];
  writeFileSync(
    script,
    `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp ${scratch}
mount -t tmpfs run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
${loaded.map((name) => `${join(folder, "insmod")} ${join(folder, name)}`).join("\n")}
ip link set lo up
export PATH=${dirname(process.execPath)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=${scratch} TMPDIR=${scratch}
cd ${repository}
(
${commands}
) 2>&1
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
`,
    { mode: 0o755 },
  );
  const args = [`mem=${memory}`, "rootfstype=hostfs", "rootflags=/", "ro", "quiet"];
  const console = ["con=null", "con0=null,fd:1", `uml_dir=${own}`, `init=${script}`];
  // A group of its own: each process of the guest is one here.
  const child = spawn(join(folder, "linux.uml"), [...args, ...console], {
    stdio: ["ignore", "pipe", "ignore"],
    detached: true,
    env: { ...process.env, HOME: own },
  });
  const timer = setTimeout(() => process.kill(-(child.pid ?? 0), "SIGKILL"), TIMEOUT_MS);
  try {
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    await once(child, "close");
    return Buffer.concat(chunks).toString().replaceAll("\r", "");
  } finally {
    clearTimeout(timer);
    rmSync(own, { recursive: true, force: true });
  }
}
