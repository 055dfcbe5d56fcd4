/** `mobula doctor`: checks this machine, and says what to fix. */
import type { Command } from "commander";
import { print } from "./cli-print.ts";
import { type Finding, MACHINE_CHECKS } from "./doctor-checks.ts";
import { wrap } from "./text-table.ts";

const MARK = { good: "ok  ", note: "note", bad: "FIX " } as const;

export function addDoctor(program: Command): void {
  program
    .command("doctor")
    .description("check this machine, and say what to fix; exits with 1 when something must be")
    .option("--json", "as JSON, for programs")
    .addHelpText(
      "after",
      "\nExamples:\n  $ mobula doctor\n  $ mobula doctor --json | jq '.[] | select(.is != \"good\")'",
    )
    .action(doctor);
}

async function doctor({ json = false }: { readonly json?: boolean }): Promise<void> {
  const findings: Finding[] = [];
  for (const check of MACHINE_CHECKS) findings.push(await check());
  if (json) print(JSON.stringify(findings, null, 2));
  else {
    const columns = Math.min(process.stdout.columns ?? 80, 100);
    for (const { what, is, says, advice } of findings) {
      for (const [index, line] of wrap(`${what}: ${says}`, columns - 6).entries())
        print(`${index === 0 ? MARK[is] : "    "}  ${line}`);
      if (advice !== undefined) for (const line of wrap(`-> ${advice}`, columns - 6)) print(`      ${line}`);
    }
  }
  if (findings.some(({ is }) => is === "bad")) process.exitCode = 1;
}
