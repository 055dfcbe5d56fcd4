/**
 * The state store of a standing node: an SQLite file in a thread of its own, so that the node's loop never waits for
 * the disk. Acknowledged changes have been synced (`synchronous = FULL`): neither kill -9 nor power loss takes them.
 */
import { Worker } from "node:worker_threads";
import { MobulaError, OutOfDiskError, VersionMismatchError } from "../base/mod.ts";
import type { CommitOutcome, StateEntry, StateStore } from "./kv.ts";
import { createWatchers } from "./kv-rules.ts";
import {
  type SqliteFailure,
  type SqliteReply,
  type SqliteRequest,
  type SqliteThreadData,
  sqliteThread,
} from "./state-sqlite-thread.ts";

/** Entry i leads from schema version i to i + 1. Published entries are never changed, only added to. */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
   INSERT INTO meta VALUES ('epoch', 0), ('revision', 0);
   CREATE TABLE state (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;`,
];

const SQLITE_BUSY = 5;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

export interface SqliteStateOptions {
  readonly path: string;
  /** For tests: as if the disk were full after so many pages of 4 KiB. */
  readonly maxPages?: number;
}

/**
 * Opens the file, and makes it when there is none.
 *
 * @throws VersionMismatchError (`invalid`) when a newer version wrote it; MobulaError `STATE_CORRUPT` (`internal`) when
 * it cannot be read; OutOfDiskError (`exhausted`); MobulaError `STATE_IN_USE` (`invalid`) while another process has it open,
 * `STATE_UNAVAILABLE` (`unavailable`) otherwise.
 */
export async function openSqliteState(options: SqliteStateOptions): Promise<StateStore> {
  const { path } = options;
  const workerData: SqliteThreadData = { ...options, schemaVersion: MIGRATIONS.length, migrations: MIGRATIONS };
  // Bundlers that keep names wrap functions in a helper of theirs, which the text alone does not have.
  const script = `const __name = (f) => f; (${sqliteThread.toString()})();`;
  const thread = new Worker(script, { eval: true, workerData, name: "mobula-state", execArgv: [], stdin: false });
  const watchers = createWatchers();
  const waiting = new Map<number, (reply: SqliteReply) => void>();
  let nextId = 1;
  let broken: MobulaError | undefined;

  const epoch = await new Promise<number>((resolve, reject) => {
    thread.once("error", (error) => reject(unavailable(path, error.message)));
    thread.once("exit", () => reject(unavailable(path, "its thread ended")));
    thread.once("message", (reply: SqliteReply) => {
      if (reply.kind === "opened") resolve(reply.epoch);
      else if (reply.kind === "not-opened") reject(openError(path, reply));
    });
  });
  thread.removeAllListeners("exit");
  thread.removeAllListeners("error");

  const failAll = (message: string): void => {
    broken ??= unavailable(path, message);
    const failure: SqliteFailure = { errcode: 0, message };
    for (const [id, settle] of [...waiting]) settle({ kind: "failed", id, failure });
  };
  thread.on("error", (error) => failAll(error.message));
  thread.on("exit", () => failAll("its thread ended"));
  thread.on("message", (reply: SqliteReply) => {
    if ("id" in reply) waiting.get(reply.id)?.(reply);
  });

  function ask(request: SqliteRequest, settle: (reply: SqliteReply) => void): void {
    waiting.set(request.id, (reply) => {
      waiting.delete(request.id);
      settle(reply);
    });
    thread.postMessage(request);
  }

  function failed(failure: SqliteFailure): MobulaError {
    const error = writeError(path, failure);
    if (error.code === "STATE_CORRUPT") broken ??= error;
    return error;
  }

  function read(request: Exclude<SqliteRequest, { kind: "commit" | "close" }>): Promise<readonly StateEntry[]> {
    return new Promise((resolve, reject) => {
      if (broken) reject(broken);
      else {
        ask(request, (reply) => {
          if (reply.kind === "entries") resolve(reply.entries);
          else if (reply.kind === "failed") reject(failed(reply.failure));
        });
      }
    });
  }

  async function* snapshot(): AsyncGenerator<readonly StateEntry[]> {
    const of = nextId++;
    let isDone = false;
    try {
      let piece = await read({ kind: "snapshot", id: of });
      for (; piece.length > 0; piece = await read({ kind: "piece", id: nextId++, of, isLast: false })) yield piece;
      isDone = true;
    } finally {
      if (!isDone && broken === undefined) await read({ kind: "piece", id: nextId++, of, isLast: true });
    }
  }

  return {
    epoch,
    snapshot,
    list: (prefix) => read({ kind: "list", id: nextId++, prefix }),
    get: async (key) => (await read({ kind: "get", id: nextId++, key }))[0],

    commit(changes, done) {
      if (broken) {
        done({ kind: "failed", error: broken });
        return;
      }
      const id = nextId++;
      ask({ kind: "commit", id, changes }, (reply) => {
        done(outcomeOf(reply));
        if (reply.kind === "committed") watchers.tell(changes, reply.revision);
      });
    },

    watch: watchers.watch,

    async close() {
      if (broken === undefined) {
        broken = unavailable(path, "it was closed");
        await new Promise<void>((resolve) => ask({ kind: "close", id: nextId++ }, () => resolve()));
      }
      await thread.terminate();
    },
  };

  function outcomeOf(reply: SqliteReply): CommitOutcome {
    switch (reply.kind) {
      case "committed":
        return { kind: "committed", revision: reply.revision };
      case "conflict":
        return { kind: "conflict", key: reply.key, revision: reply.revision };
      case "failed":
        return { kind: "failed", error: failed(reply.failure) };
      default:
        return {
          kind: "failed",
          error: new MobulaError("INTERNAL", "internal", `a commit was answered by ${reply.kind}`),
        };
    }
  }
}

const unavailable = (path: string, why: string): MobulaError =>
  new MobulaError("STATE_UNAVAILABLE", "unavailable", `the state store ${path} cannot be used: ${why}`);

function openError(path: string, reply: Extract<SqliteReply, { kind: "not-opened" }>): MobulaError {
  if (reply.foundVersion !== undefined && reply.foundVersion > MIGRATIONS.length) {
    return new VersionMismatchError(
      `the state store ${path} was written by a newer version (schema ${reply.foundVersion}, this one knows ${MIGRATIONS.length}); use that version, or move the file away`,
    );
  }
  return writeError(path, reply.failure);
}

function writeError(path: string, { errcode, message }: SqliteFailure): MobulaError {
  switch (errcode) {
    case SQLITE_FULL:
      return new OutOfDiskError(`the state store ${path} cannot grow: ${message}; make room on its disk`);
    case SQLITE_BUSY:
      return new MobulaError(
        "STATE_IN_USE",
        "invalid",
        `the state store ${path} is in use by another process: a head that runs already, or a tool that has it open`,
      );
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return new MobulaError(
        "STATE_CORRUPT",
        "internal",
        `the state store ${path} is damaged (${message}) and nothing more is written to it; put back a backup (\`mobula restore\` for a cluster), or move it away to start anew`,
      );
    case SQLITE_READONLY:
    case SQLITE_IOERR:
      return unavailable(path, `${message}; check the permissions and the health of its disk`);
    default:
      return unavailable(path, message);
  }
}
