/**
 * The thread that owns the SQLite file. All commits that have arrived since it last looked go into one transaction with
 * one sync to disk (group commit); each of them still holds or fails by itself when an expected revision differs.
 *
 * The thread runs this function's text, so that the package can be bundled into any number of files: it must not use
 * anything from outside itself.
 */
import type { MessagePort } from "node:worker_threads";
import type { StateChange } from "./kv.ts";

export type SqliteRequest =
  | { readonly kind: "commit"; readonly id: number; readonly changes: readonly StateChange[] }
  | { readonly kind: "list"; readonly id: number; readonly prefix: string }
  | { readonly kind: "get"; readonly id: number; readonly key: string }
  /** Answered by the first piece of all that is there now. */
  | { readonly kind: "snapshot"; readonly id: number }
  /** The next piece of that snapshot, none when it was the last; or, if it `isLast`, what is left can be forgotten. */
  | { readonly kind: "piece"; readonly id: number; readonly of: number; readonly isLast: boolean }
  | { readonly kind: "close"; readonly id: number };

export interface SqliteFailure {
  /** SQLite's primary result code; 0 when it was not SQLite that failed. */
  readonly errcode: number;
  readonly message: string;
}

export type SqliteReply =
  | { readonly kind: "opened"; readonly epoch: number }
  | { readonly kind: "not-opened"; readonly failure: SqliteFailure; readonly foundVersion?: number }
  | { readonly kind: "committed"; readonly id: number; readonly revision: number }
  | { readonly kind: "conflict"; readonly id: number; readonly key: string; readonly revision: number }
  | { readonly kind: "failed"; readonly id: number; readonly failure: SqliteFailure }
  | { readonly kind: "entries"; readonly id: number; readonly entries: readonly SqliteRow[] }
  | { readonly kind: "closed"; readonly id: number };

export interface SqliteRow {
  readonly key: string;
  readonly value: Uint8Array;
  readonly revision: number;
}

export interface SqliteThreadData {
  readonly path: string;
  readonly schemaVersion: number;
  /** SQL that leads from version i to i + 1. */
  readonly migrations: readonly string[];
  /** For tests: the file may not grow beyond so many pages. */
  readonly maxPages?: number;
}

/** Runs in the thread; see above for why it is self-contained. */
export function sqliteThread(): void {
  const { parentPort, workerData, receiveMessageOnPort } = process.getBuiltinModule("node:worker_threads");
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  // This function only ever runs in a thread, which has a port to its parent.
  const port = parentPort as MessagePort;
  const data = workerData as SqliteThreadData;

  const failureOf = (error: unknown): SqliteFailure => {
    const { errcode, message } = error as { errcode?: number; message?: string };
    return { errcode: (errcode ?? 0) & 0xff, message: String(message ?? error) };
  };
  const reply = (message: SqliteReply): void => port.postMessage(message);

  let foundVersion: number | undefined;
  const openDatabase = () => {
    const db = new DatabaseSync(data.path);
    // Locked until it is closed: a second head on the same file would not know what this one writes.
    db.exec(
      "PRAGMA busy_timeout = 2000; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
    );
    if (data.maxPages !== undefined) db.exec(`PRAGMA max_page_count = ${data.maxPages}`);
    const check = db.prepare("PRAGMA quick_check(1)").get() as { quick_check: string };
    if (check.quick_check !== "ok") throw Object.assign(new Error(check.quick_check), { errcode: 11 });
    const { user_version: version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
    foundVersion = version;
    if (version > data.schemaVersion) throw new Error(`schema version ${version} is newer than ${data.schemaVersion}`);
    db.exec("BEGIN IMMEDIATE");
    for (let from = version; from < data.schemaVersion; from++) db.exec(data.migrations[from] as string);
    db.exec(`PRAGMA user_version = ${data.schemaVersion}`);
    db.exec("UPDATE meta SET value = value + 1 WHERE name = 'epoch'");
    db.exec("COMMIT");
    return db;
  };

  let db: ReturnType<typeof openDatabase>;
  try {
    db = openDatabase();
  } catch (error) {
    reply({ kind: "not-opened", failure: failureOf(error), ...(foundVersion === undefined ? {} : { foundVersion }) });
    port.close();
    return;
  }

  const meta = db.prepare("SELECT value FROM meta WHERE name = ?");
  const metaValue = (name: string): number => (meta.get(name) as { value: number }).value;
  const begin = db.prepare("BEGIN IMMEDIATE");
  const commit = db.prepare("COMMIT");
  const setRevision = db.prepare("UPDATE meta SET value = ? WHERE name = 'revision'");
  const put = db.prepare("INSERT OR REPLACE INTO state (key, value, revision) VALUES (?, ?, ?)");
  const remove = db.prepare("DELETE FROM state WHERE key = ?");
  const one = db.prepare("SELECT key, value, revision FROM state WHERE key = ?");
  // 0xffff is the greatest code unit that can follow a prefix, so this range is every key with it.
  const range = db.prepare("SELECT key, value, revision FROM state WHERE key >= ? AND key < ? ORDER BY key");
  let revision = metaValue("revision");
  reply({ kind: "opened", epoch: metaValue("epoch") });

  const apply = (request: Extract<SqliteRequest, { kind: "commit" }>): SqliteReply => {
    for (const { key, expect } of request.changes) {
      if (expect === undefined) continue;
      const has = (one.get(key) as SqliteRow | undefined)?.revision ?? 0;
      if (has !== expect) return { kind: "conflict", id: request.id, key, revision: has };
    }
    revision++;
    for (const { key, value } of request.changes) {
      if (value === null) remove.run(key);
      else put.run(key, value, revision);
    }
    return { kind: "committed", id: request.id, revision };
  };

  const commitGroup = (group: readonly Extract<SqliteRequest, { kind: "commit" }>[]): void => {
    const before = revision;
    const replies: SqliteReply[] = [];
    try {
      begin.run();
      for (const request of group) replies.push(apply(request));
      setRevision.run(revision);
      commit.run();
    } catch (error) {
      revision = before;
      // SQLite has rolled back by itself after some errors, and then refuses to do so again.
      if (db.isTransaction) db.exec("ROLLBACK");
      for (const { id } of group) reply({ kind: "failed", id, failure: failureOf(error) });
      return;
    }
    for (const done of replies) reply(done);
  };

  const read = (id: number, rows: () => SqliteRow[]): void => {
    try {
      reply({ kind: "entries", id, entries: rows() });
    } catch (error) {
      reply({ kind: "failed", id, failure: failureOf(error) });
    }
  };

  const snapshots = new Map<number, { readonly rows: SqliteRow[]; at: number }>();
  const PIECE_BYTES = 1 << 20;
  const pieceOf = (id: number): SqliteRow[] => {
    const snapshot = snapshots.get(id);
    if (snapshot === undefined) return [];
    const { rows, at } = snapshot;
    for (let bytes = 0; snapshot.at < rows.length && bytes < PIECE_BYTES; )
      bytes += rows[snapshot.at++]?.value.length ?? 0;
    if (snapshot.at === rows.length) snapshots.delete(id);
    return rows.slice(at, snapshot.at);
  };

  port.on("message", (first: SqliteRequest) => {
    let group: Extract<SqliteRequest, { kind: "commit" }>[] = [];
    const flush = (): void => {
      if (group.length > 0) commitGroup(group);
      group = [];
    };
    let request: SqliteRequest | undefined = first;
    while (request !== undefined) {
      const current: SqliteRequest = request;
      if (current.kind === "commit") group.push(current);
      else {
        flush();
        if (current.kind === "list") {
          read(current.id, () => range.all(current.prefix, `${current.prefix}\uffff`) as unknown as SqliteRow[]);
        } else if (current.kind === "get")
          read(current.id, () => [one.get(current.key)].filter(Boolean) as unknown as SqliteRow[]);
        else if (current.kind === "snapshot") {
          read(current.id, () => {
            snapshots.set(current.id, { rows: range.all("", "\uffff") as unknown as SqliteRow[], at: 0 });
            return pieceOf(current.id);
          });
        } else if (current.kind === "piece") {
          if (current.isLast) snapshots.delete(current.of);
          read(current.id, () => pieceOf(current.of));
        } else {
          db.close();
          reply({ kind: "closed", id: current.id });
          port.close();
          return;
        }
      }
      request = (receiveMessageOnPort(port) as { message: SqliteRequest } | undefined)?.message;
    }
    flush();
  });
}
