/** `mobula dashboard` and `mobula token`: how a person or a program is let in. */
import type { Command } from "commander";
import { makeCode, readOnlyToken } from "../state/mod.ts";
import { findApi } from "./api-client.ts";
import { print } from "./cli-print.ts";

export function addDashboard(program: Command): void {
  program
    .command("dashboard")
    .description("print a link to the dashboard; it is good once, within ten minutes")
    .option("--address <address>", "of the cluster: host:port, or the http address (default: of this machine)")
    .addHelpText("after", "\nExamples:\n  $ mobula dashboard\n  $ xdg-open $(mobula dashboard)")
    .action(async ({ address }: { readonly address?: string }) => {
      const { url, token } = await findApi(address);
      print(`${url}/?code=${makeCode(token, Date.now())}`);
    });
  program
    .command("token")
    .description("print the token for the HTTP API, for scripts and other tools")
    .option("--read-only", "one that reads everything and changes nothing")
    .option("--address <address>", "of the cluster: host:port, or the http address (default: of this machine)")
    .addHelpText(
      "after",
      `
Examples:
  $ mobula token
  $ curl -H "Authorization: Bearer $(mobula token --read-only)" http://127.0.0.1:8265/api/v1/nodes`,
    )
    .action(async ({ address, readOnly }: { readonly address?: string; readonly readOnly?: true }) => {
      const { token } = await findApi(address);
      print(readOnly ? readOnlyToken(token) : token);
    });
}
