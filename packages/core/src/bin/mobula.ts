/** The command `mobula`. */
import { readFileSync } from "node:fs";
import { Command } from "commander";

// The manifest lies two folders up both from `src/bin` and from `dist/lib`.
const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  readonly version: string;
  readonly description: string;
};

const program = new Command("mobula")
  .description(manifest.description)
  .version(manifest.version, "-v, --version", "print the version")
  .helpOption("-h, --help", "print this help")
  .showHelpAfterError("(mobula --help lists what there is)");

if (process.argv.length <= 2) program.outputHelp();
else void program.parseAsync();
