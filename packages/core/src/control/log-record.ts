/** What is in a record of a replicated log, as bytes: MessagePack arrays, whose first number is the format's version. */
import { Packr } from "msgpackr";
import { VersionMismatchError } from "../base/mod.ts";
import type { StateEntry } from "./kv.ts";

/** Readers refuse a log with a record of a newer format; an older one they must be able to read. */
const LOG_FORMAT = 1;

export interface RecordHeader {
  /** Grows by one with each writer. */
  readonly epoch: number;
  /** The record that this one follows. */
  readonly after: number;
  /** From here on the log holds everything: what is missing later was lost. */
  readonly base: number;
  /** The revision of the last commit so far. */
  readonly revision: number;
  /** Random, one for each opening: tells a writer its own records. */
  readonly writer: string;
  /** How others reach the leader that wrote it. */
  readonly leader: string;
}

export interface LoggedCommit {
  readonly revision: number;
  readonly changes: readonly { readonly key: string; readonly value: Uint8Array | null }[];
}

export type RecordBody =
  /** A writer begins: from here on only records of its epoch count. */
  | { readonly kind: "begin" }
  /** `carried` are entries that were written long ago, so that the records which hold them can be trimmed. */
  | { readonly kind: "commits"; readonly commits: readonly LoggedCommit[]; readonly carried: readonly StateEntry[] }
  /** A piece of a body that is too large for one record. It counts when the last piece is there. */
  | { readonly kind: "part"; readonly index: number; readonly isLast: boolean; readonly bytes: Uint8Array }
  /** The writer has ended in order: the next one need not wait. */
  | { readonly kind: "resign" };

export interface DecodedRecord {
  readonly header: RecordHeader;
  readonly body: RecordBody;
}

const packr = new Packr({ useRecords: false, mapsAsObjects: true });

export function encodeBody(body: RecordBody): Uint8Array {
  return packr.pack(bodyFields(body));
}

function bodyFields(body: RecordBody): unknown[] {
  switch (body.kind) {
    case "begin":
    case "resign":
      return [body.kind];
    case "part":
      return [body.kind, body.index, body.isLast, body.bytes];
    case "commits":
      return [
        body.kind,
        body.commits.map(({ revision, changes }) => [revision, ...changes.flatMap(({ key, value }) => [key, value])]),
        body.carried.flatMap(({ key, value, revision }) => [key, value, revision]),
      ];
  }
}

export function decodeBody(bytes: Uint8Array): RecordBody {
  const [kind, first, second, third] = packr.unpack(bytes) as [RecordBody["kind"], unknown, unknown, unknown];
  switch (kind) {
    case "begin":
    case "resign":
      return { kind };
    case "part":
      return { kind, index: first as number, isLast: second as boolean, bytes: third as Uint8Array };
    case "commits": {
      const commits = (first as unknown[][]).map(([revision, ...fields]) => ({
        revision: revision as number,
        changes: Array.from({ length: fields.length / 2 }, (_, n) => ({
          key: fields[2 * n] as string,
          value: fields[2 * n + 1] as Uint8Array | null,
        })),
      }));
      const fields = second as unknown[];
      const carried = Array.from({ length: fields.length / 3 }, (_, n) => ({
        key: fields[3 * n] as string,
        value: fields[3 * n + 1] as Uint8Array,
        revision: fields[3 * n + 2] as number,
      }));
      return { kind, commits, carried };
    }
  }
}

export function encodeRecord(header: RecordHeader, body: Uint8Array): Uint8Array {
  const { epoch, after, base, revision, writer, leader } = header;
  return packr.pack([LOG_FORMAT, epoch, after, base, revision, writer, leader, body]);
}

/** @throws VersionMismatchError (`invalid`) when a newer version wrote it. */
export function decodeRecord(data: Uint8Array): DecodedRecord {
  const fields = packr.unpack(data) as [number, number, number, number, number, string, string, Uint8Array];
  const [format, epoch, after, base, revision, writer, leader, body] = fields;
  if (format > LOG_FORMAT) {
    throw new VersionMismatchError(
      `the replicated state was written by a newer version (format ${format}, this one knows ${LOG_FORMAT}); use that version`,
    );
  }
  return { header: { epoch, after, base, revision, writer, leader }, body: decodeBody(body) };
}
