/** What of a machine Mobula needs, or runs better with. Each check says what it saw, and what to do. */
import { accessSync, constants, readFileSync, statfsSync } from "node:fs";
import { availableParallelism, freemem, tmpdir, totalmem } from "node:os";
import { baseFolder, DASHBOARD_PORTS, dashboardsIn, findStandingNode, whyNoNode } from "../node/mod.ts";
import { koffi } from "../store/mod.ts";
import { gpuFinding } from "./gpu-finding.ts";
import { bytesText } from "./row-table.ts";

export interface Finding {
  readonly what: string;
  /** `bad`: it does not work so; `note`: it works, and could do better. */
  readonly is: "good" | "note" | "bad";
  readonly says: string;
  readonly advice?: string;
}

type Check = () => Finding | Promise<Finding>;

const GIB = 2 ** 30;
const NODE_MAJOR = 24;
const FILES_MIN = 4_096;
const MAPS_MIN = 65_530;
const DISK_MIN = GIB;

const good = (what: string, says: string): Finding => ({ what, is: "good", says });
const note = (what: string, says: string, advice: string): Finding => ({ what, is: "note", says, advice });
const bad = (what: string, says: string, advice: string): Finding => ({ what, is: "bad", says, advice });

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined; // Not this kind of system: the check says so.
  }
}

export const MACHINE_CHECKS: readonly Check[] = [
  () => {
    const { version, platform, arch, versions } = process;
    const what = "Node.js";
    if (Number(versions.node.split(".")[0]) < NODE_MAJOR)
      return bad(what, `${version} is too old`, `install Node.js ${NODE_MAJOR} or newer`);
    return platform === "linux"
      ? good(what, `${version} on ${platform}-${arch}`)
      : note(
          what,
          `${version} on ${platform}-${arch}`,
          "Linux is what Mobula is tested on; other systems use the portable layer",
        );
  },
  () => {
    const cores = availableParallelism();
    return cores >= 2
      ? good("processors", `${cores} can be used`)
      : note(
          "processors",
          "one can be used",
          "programs run, and nothing runs beside each other: give the machine or container more",
        );
  },
  () => {
    const [total, free] = [totalmem(), freemem()];
    const limit = Number(read("/sys/fs/cgroup/memory.max") ?? Number.NaN);
    const within = limit < total ? `, ${bytesText(limit)} of it for this container` : "";
    return Math.min(total, limit || total) >= GIB
      ? good("memory", `${bytesText(total)}${within}, ${bytesText(free)} free`)
      : bad(
          "memory",
          `${bytesText(total)}${within}`,
          "a worker takes 40 to 60 MB, and the object store 30 % of the memory: give it 1 GiB or more",
        );
  },
  () => {
    try {
      return good("shared memory", `objects can be mapped (koffi ${koffi().version})`);
    } catch (error) {
      return bad(
        "shared memory",
        `the native library cannot be loaded: ${(error as Error).message}`,
        "install the package again on this machine: npm install mobula",
      );
    }
  },
  () => {
    const limit = Number(/^Max open files\s+(\d+)/m.exec(read("/proc/self/limits") ?? "")?.[1] ?? Number.NaN);
    if (Number.isNaN(limit)) return note("open files", "the limit is not known on this system", "ulimit -n says it");
    return limit >= FILES_MIN
      ? good("open files", `${limit} for a process`)
      : note(
          "open files",
          `${limit} for a process`,
          `a node with many workers needs more: ulimit -n 65536, or LimitNOFILE=65536 in its unit`,
        );
  },
  () => {
    const maps = Number(read("/proc/sys/vm/max_map_count") ?? Number.NaN);
    if (Number.isNaN(maps)) return note("memory mappings", "the limit is not known on this system", "nothing to do");
    return maps >= MAPS_MIN
      ? good("memory mappings", `${maps} for a process`)
      : note(
          "memory mappings",
          `${maps} for a process`,
          "large objects are copied past it: sysctl vm.max_map_count=262144",
        );
  },
  () => {
    const base = baseFolder();
    const { bavail, bsize } = statfsSync(base);
    const free = bavail * bsize;
    return free >= DISK_MIN
      ? good("temporary folder", `${base}, ${bytesText(free)} free for what does not fit into memory`)
      : bad(
          "temporary folder",
          `${base} has ${bytesText(free)} free`,
          `free some, or set TMPDIR to a folder with room (now ${tmpdir()})`,
        );
  },
  () => {
    const controllers = read("/sys/fs/cgroup/cgroup.controllers");
    if (controllers === undefined)
      return note(
        "limits",
        "there is no cgroup v2 here",
        "CPUs and memory of tasks are counted and not enforced; that is how it is by default",
      );
    try {
      accessSync("/sys/fs/cgroup/cgroup.subtree_control", constants.W_OK);
      return good("limits", "CPUs and memory of tasks can be enforced (mobula start --cgroup auto)");
    } catch {
      return note(
        "limits",
        "this user may not make cgroups",
        "run the node under systemd with Delegate=yes (deploy/systemd) to have limits enforced",
      );
    }
  },
  () => gpuFinding(),
  () => {
    const node = findStandingNode();
    const places = dashboardsIn(baseFolder());
    if (node)
      return good(
        "running here",
        `a node (pid ${node.pid})${node.cluster === undefined ? "" : ` of the cluster at ${node.cluster}`}`,
      );
    if (places.length > 0)
      return good(
        "running here",
        places.map(({ url, isEmbedded }) => `${isEmbedded ? "a program" : "a head"} (${url})`).join(", "),
      );
    const why = whyNoNode();
    return why === undefined
      ? good("running here", `nothing; the dashboard will be at one of the ports ${DASHBOARD_PORTS}`)
      : note("running here", `nothing; ${why}`, "look there for why it ended");
  },
];
