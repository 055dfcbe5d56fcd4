/**
 * A backup of what a head has written down, taken while it runs: the head reads its state at one moment, and a tool asks for it
 * piece by piece, so that neither the state's size nor a slow tool holds the head up.
 */
import type { MobulaError } from "../base/errors.ts";
import { backupOf, type StateStore, writeBackup } from "../control/mod.ts";
import type { Answer, Queries, Query } from "../wire/mod.ts";
import { atLeader, connectTool, type HeadAddress } from "./ask.ts";

type Piece = Queries["backup"]["result"];

/** What one tool is given, as long as it is connected. */
export class BackupReader {
  private readonly state: Pick<StateStore, "get" | "snapshot">;
  private pieces: AsyncGenerator<Uint8Array> | undefined;

  constructor(state: Pick<StateStore, "get" | "snapshot">) {
    this.state = state;
  }

  /** The next piece; the first one of a new backup when there is none under way. */
  async answer({ id }: Query): Promise<Answer> {
    try {
      this.pieces ??= backupOf(this.state);
      const { value, done = false } = await this.pieces.next();
      if (done) this.pieces = undefined;
      return { t: "answer", id, result: { bytes: value ?? null } satisfies Piece };
    } catch (error) {
      this.pieces = undefined;
      const { code = "INTERNAL", kind = "internal", message } = error as MobulaError;
      return { t: "answer", id, error: { code, kind, message } };
    }
  }

  async end(): Promise<void> {
    await this.pieces?.return(undefined);
  }
}

/**
 * Writes a backup of a cluster's state, as its head has it now. The file is there whole or not at all. The number of entries.
 *
 * @throws as `askHead` and `writeBackup` do.
 */
export const takeBackup = (head: HeadAddress, path: string): Promise<number> =>
  atLeader(head, (address, timeoutMs) => writeBackup(piecesFrom(head, address, timeoutMs), path));

async function* piecesFrom(head: HeadAddress, address: string, timeoutMs: number | undefined) {
  const tool = await connectTool({ ...head, address }, timeoutMs);
  try {
    for (;;) {
      const { bytes } = await tool.ask("backup", null);
      if (bytes === null) return;
      yield bytes;
    }
  } finally {
    tool.close();
  }
}
