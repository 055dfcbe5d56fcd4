/** What a program or a command line says of TLS, and what the environment says where they are silent. */
import { resolve } from "node:path";
import type { TlsFiles } from "../wire/mod.ts";

/** Paths are from the current folder: processes that are given them run elsewhere. Undefined: no TLS. */
export function tlsFilesFrom(
  given: TlsFiles,
  environment: Readonly<Record<string, string | undefined>>,
): TlsFiles | undefined {
  const { MOBULA_TLS_CERT, MOBULA_TLS_KEY, MOBULA_TLS_CA, MOBULA_TLS_SERVER_NAME } = environment;
  const files = {
    ...pathOf("cert", given.cert ?? MOBULA_TLS_CERT),
    ...pathOf("key", given.key ?? MOBULA_TLS_KEY),
    ...pathOf("ca", given.ca ?? MOBULA_TLS_CA),
  };
  if (Object.keys(files).length === 0) return undefined;
  const serverName = given.serverName ?? (MOBULA_TLS_SERVER_NAME || undefined);
  return { ...files, ...(serverName !== undefined && { serverName }) };
}

const pathOf = <K extends string>(name: K, path: string | undefined): { [key in K]?: string } =>
  path ? ({ [name]: resolve(path) } as { [key in K]?: string }) : {};
