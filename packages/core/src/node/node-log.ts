/** The node's own log: to standard error and to a file of the session, by level. */
import { join } from "node:path";
import type { LogLevel } from "./config.ts";
import { RotatingFile } from "./log-file.ts";
import { logFolderOf } from "./session-folder.ts";

const LEVELS: readonly LogLevel[] = ["error", "warn", "info", "debug"];

export class NodeLog {
  private readonly file: RotatingFile;
  private readonly highest: number;

  private readonly name: string;

  /** @param name of the process, for its lines and the file. */
  constructor(sessionDir: string, level: LogLevel, name = "node") {
    this.name = name;
    this.file = new RotatingFile(join(logFolderOf(sessionDir), `${name}.log`));
    this.highest = LEVELS.indexOf(level);
  }

  write(level: LogLevel, message: string): void {
    if (LEVELS.indexOf(level) > this.highest) return;
    this.file.write(`${new Date().toISOString()} ${level} ${message}\n`);
    // The launcher passes it on to the user, and shows the last of it when the node dies. It may be gone, which the
    // handler in main.ts expects.
    process.stderr.write(`[mobula ${this.name}] ${message}\n`);
  }

  close(): void {
    this.file.close();
  }
}
