/** The state service of a head: nodes are told where it listens, by whoever leads. */
import { join } from "node:path";
import { DASHBOARD_PORTS, keepDashboard, type NodeLog, StateService } from "../node/mod.ts";
import type { HeadConfig } from "./config.ts";
import type { Door } from "./door.ts";

/** What a start is measured by comes first: nodes, and programs that wait. */
const START_AFTER_MS = 1_000;

/** As others reach it, if they do: what listens everywhere is at the head's own address. */
function urlFrom(url: string, head: string, isEverywhere: boolean): string {
  const own = new URL(url);
  if (isEverywhere) own.host = `${head.slice(0, head.lastIndexOf(":"))}:${own.port}`;
  return own.origin;
}

const isLoopback = (host: string): boolean => host === "localhost" || host === "::1" || host.startsWith("127.");

/** Undefined: it is not wanted, or no port is free, and everything else goes on. */
export async function openStateService(
  config: HeadConfig,
  log: NodeLog,
  door: Door,
): Promise<StateService | undefined> {
  const { dashboard, access, host, advertise, sessionDir, stateDir } = config;
  if (dashboard === null) return undefined;
  const { host: httpHost = "127.0.0.1", ports = DASHBOARD_PORTS } = dashboard ?? {};
  const isEverywhere = httpHost === "::" || httpHost === "0.0.0.0";
  try {
    const service: StateService = await StateService.open({
      host: httpHost,
      ports,
      // What others can read on the way is encrypted where the cluster's own connections are.
      isTls: access.tls !== undefined && !isLoopback(httpHost),
      config: () => ({
        ...{ access, sessionDir, isEmbedded: false },
        packagesDir: join(stateDir, "packages"),
        control: { kind: "head", address: door.address },
        link: { host, ...(advertise !== undefined && { advertise }) },
      }),
      onLink: (address) => door.stateServiceAt(address, urlFrom(service.url, door.address, isEverywhere)),
      onNews: (message) => log.write("warn", message),
    });
    keepDashboard(sessionDir, { url: service.url, tokenFile: access.tokenFile, isEmbedded: false });
    setTimeout(() => service.start(), START_AFTER_MS).unref();
    return service;
  } catch (error) {
    log.write("warn", `there is no dashboard: ${(error as Error).message}`);
    return undefined;
  }
}
