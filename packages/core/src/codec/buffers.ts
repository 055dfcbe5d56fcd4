/**
 * The buffers of a value while it is written.
 *
 * 1. A small view is written inband at once, a larger one as a note of fixed size with its place left open.
 * 2. At the end the views are grouped by the ArrayBuffer they look at. Views that overlap, and all views of an
 *    ArrayBuffer that is itself part of the value or can be resized, share one segment; every other large view gets one.
 * 3. Notes are filled in; small views that turned out to share are taken out of the inband bytes again and replaced by
 *    notes. Nothing inband refers to a position, so cutting is safe.
 */
import {
  EXT_BUFFER,
  EXT_BYTES,
  INLINE_BUFFER_BYTES_MAX,
  VIEW_ARRAY_BUFFER,
  VIEW_LENGTH_TRACKING,
  VIEW_RESIZABLE,
  VIEW_UINT8,
} from "./format.ts";
import type { Output } from "./output.ts";
import { isLengthTracking } from "./views.ts";

/** Offsets of views in a shared segment keep every element size aligned. */
const ELEMENT_BYTES_MAX = 8;

interface ViewRecord {
  readonly buffer: ArrayBuffer;
  readonly offset: number;
  readonly length: number;
  /** Kind and flags. */
  readonly kind: number;
  /** The whole ArrayBuffer belongs to the value, also what this view does not cover. */
  readonly needsAll: boolean;
  readonly isInline: boolean;
  /** Where its bytes are, relative to the value's start. */
  readonly at: number;
  readonly end: number;
  segment: number;
  segmentOffset: number;
}

export class BufferCollector {
  private readonly records: ViewRecord[] = [];

  /** Writes a view or an ArrayBuffer (`kind` 0), or a note for it. */
  write(
    out: Output,
    buffer: ArrayBuffer,
    byteOffset: number,
    byteLength: number,
    kind: number,
    view: ArrayBufferView | undefined,
  ): void {
    const { resizable } = buffer;
    const at = out.pos - out.start;
    const isInline = byteLength < INLINE_BUFFER_BYTES_MAX && !resizable;
    let flags = 0;
    if (resizable) {
      flags = VIEW_RESIZABLE;
      if (view && isLengthTracking(view, kind)) flags |= VIEW_LENGTH_TRACKING;
    }
    if (isInline) {
      const bytes = view instanceof Uint8Array ? view : new Uint8Array(buffer, byteOffset, byteLength);
      if (kind === VIEW_UINT8) {
        out.bin(bytes);
      } else {
        out.extHeader(EXT_BYTES, byteLength + 1);
        out.byte(kind);
        out.raw(bytes);
      }
    } else {
      writeNote(out, kind | flags, 0, 0, byteLength, resizable ? buffer.maxByteLength : 0);
    }
    this.records.push({
      buffer,
      offset: byteOffset,
      length: byteLength,
      kind: kind | flags,
      needsAll: kind === VIEW_ARRAY_BUFFER || resizable,
      isInline,
      at,
      end: out.pos - out.start,
      segment: -1,
      segmentOffset: 0,
    });
  }

  /** Decides the segments, completes the inband bytes, and returns what lies out of band. */
  finish(out: Output): Uint8Array[] {
    const { records } = this;
    if (records.length === 0) return [];
    const segments: Uint8Array[] = [];
    if (records.length === 1 && records[0]) assignSegments([records[0]], segments);
    else for (const group of groupByBuffer(records)) assignSegments(group, segments);
    if (segments.length > 0) completeInband(out, records);
    return segments;
  }
}

function groupByBuffer(records: readonly ViewRecord[]): Iterable<ViewRecord[]> {
  const groups = new Map<ArrayBuffer, ViewRecord[]>();
  for (const record of records) {
    const group = groups.get(record.buffer);
    if (group) group.push(record);
    else groups.set(record.buffer, [record]);
  }
  return groups.values();
}

function assignSegments(group: ViewRecord[], segments: Uint8Array[]): void {
  const [first] = group;
  if (!first) return;
  if (group.length > 1 && group.some((record) => record.needsAll)) {
    shareSegment(group, 0, first.buffer.byteLength, segments);
    return;
  }
  group.sort((a, b) => a.offset - b.offset);
  let run: ViewRecord[] = [];
  let runEnd = 0;
  const closeRun = (): void => {
    const [head] = run;
    if (!head) return;
    if (run.length > 1) {
      const start = head.offset - (head.offset % ELEMENT_BYTES_MAX);
      shareSegment(run, start, runEnd, segments);
    } else if (!head.isInline) {
      if (head.kind & VIEW_RESIZABLE) shareSegment(run, 0, head.buffer.byteLength, segments);
      else shareSegment(run, head.offset, runEnd, segments);
    }
    run = [];
  };
  for (const record of group) {
    if (run.length > 0 && record.offset >= runEnd) closeRun();
    if (run.length === 0) runEnd = record.offset;
    run.push(record);
    runEnd = Math.max(runEnd, record.offset + record.length);
  }
  closeRun();
}

function shareSegment(records: readonly ViewRecord[], start: number, end: number, segments: Uint8Array[]): void {
  const [first] = records;
  if (!first) return;
  for (const record of records) {
    record.segment = segments.length;
    record.segmentOffset = record.offset - start;
  }
  segments.push(new Uint8Array(first.buffer, start, end - start));
}

/** Kind, segment, offset and length in it, and for a resizable buffer its maximum; big-endian like all of MessagePack. */
export function writeNote(
  out: Output,
  kind: number,
  segment: number,
  offset: number,
  length: number,
  maxByteLength: number,
): void {
  out.extHeader(EXT_BUFFER, kind & VIEW_RESIZABLE ? 29 : 21);
  out.byte(kind);
  out.uint32(segment);
  out.uint64(offset);
  out.uint64(length);
  if (kind & VIEW_RESIZABLE) out.uint64(maxByteLength);
}

function completeInband(out: Output, records: ViewRecord[]): void {
  const noted = records.filter((record) => record.segment >= 0);
  if (noted.every((record) => !record.isInline)) {
    const end = out.pos;
    for (const record of noted) {
      out.pos = out.start + record.at;
      writeRecord(out, record);
    }
    out.pos = end;
    return;
  }
  // Notes replace bytes of another length: the inband bytes are written once more behind themselves, piece by piece.
  noted.sort((a, b) => a.at - b.at);
  const before = Buffer.from(out.bytes.subarray(out.start, out.pos));
  out.pos = out.start;
  let copied = 0;
  for (const record of noted) {
    out.raw(before.subarray(copied, record.at));
    writeRecord(out, record);
    copied = record.end;
  }
  out.raw(before.subarray(copied));
}

function writeRecord(out: Output, record: ViewRecord): void {
  const maxByteLength = record.kind & VIEW_RESIZABLE ? record.buffer.maxByteLength : 0;
  writeNote(out, record.kind, record.segment, record.segmentOffset, record.length, maxByteLength);
}
