/** Reads names of objects ({@link objectKey}) out of bytes without making strings of them: they come by the ten thousand. */
import { OWNER_HEX, type ProcessId, type Seq } from "./ids.ts";

/** Larger numbers than so many digits hold are not exact. */
const DIGITS_MAX = 10;
const DOT = 0x2e;
const [ZERO, NINE, A, Z] = [0x30, 0x39, 0x61, 0x7a];

export class KeyReader {
  /** Of the last name that was read. */
  owner = "" as ProcessId;
  seq = 0 as Seq;
  /** The owner with the dot behind it: names that follow each other are mostly of one. */
  private readonly prefix = new Uint8Array(OWNER_HEX + 1);

  /** False when it is no name, or an unusual one. */
  read(bytes: Buffer, start: number, end: number): boolean {
    const from = start + OWNER_HEX + 1;
    if (end <= from || end > from + DIGITS_MAX || bytes[from - 1] !== DOT) return false;
    let seq = 0;
    for (let at = from; at < end; at++) {
      const char = bytes[at] as number;
      if (char >= ZERO && char <= NINE) seq = seq * 36 + (char - ZERO);
      else if (char >= A && char <= Z) seq = seq * 36 + (char - A + 10);
      else return false;
    }
    this.seq = seq as Seq;
    if (!this.isSameOwner(bytes, start)) {
      this.owner = bytes.toString("utf8", start, from - 1) as ProcessId;
      this.prefix.set(bytes.subarray(start, from));
    }
    return true;
  }

  private isSameOwner(bytes: Buffer, start: number): boolean {
    const { prefix } = this;
    for (let index = 0; index <= OWNER_HEX; index++) if (bytes[start + index] !== prefix[index]) return false;
    return true;
  }
}
