/** The node's own log: to standard error and to a file of the session, by level. */
import { join } from "node:path";
import { wallMs } from "../base/clock.ts";
import type { LogLevel } from "./config.ts";
import { RotatingFile } from "./log-file.ts";
import { type LogFormat, logFormat, logLine } from "./log-record.ts";
import { logFolderOf } from "./session-folder.ts";

const LEVELS: readonly LogLevel[] = ["error", "warn", "info", "debug"];

export class NodeLog {
  private readonly file: RotatingFile;
  private readonly highest: number;

  private readonly name: string;
  private readonly nodeId: string | null;
  private readonly format: LogFormat;

  /** @param name of the process, for its lines and the file. */
  constructor(sessionDir: string, level: LogLevel, name = "node", nodeId: string | null = null, format = logFormat()) {
    this.name = name;
    this.nodeId = nodeId;
    this.format = format;
    this.file = new RotatingFile(join(logFolderOf(sessionDir), `${name}.log`));
    this.highest = LEVELS.indexOf(level);
  }

  write(level: LogLevel, message: string): void {
    if (LEVELS.indexOf(level) > this.highest) return;
    this.file.write(
      logLine(
        {
          ...{ timeMs: wallMs(), level, node: this.nodeId, source: this.name, pid: process.pid, worker: null },
          ...{ job: null, stream: null, task: null, actor: null, name: null, message },
        },
        this.format,
      ),
    );
    // The launcher passes it on to the user, and shows the last of it when the node dies. It may be gone, which the
    // handler in main.ts expects.
    process.stderr.write(`[mobula ${this.name}] ${message}\n`);
  }

  close(): void {
    this.file.close();
  }
}
