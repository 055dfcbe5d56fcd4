/** Long work on the node's thread, which has the whole machine to look after: after a few milliseconds others have their turn. */
const SLICE_MS = 5;

export class Slices {
  private since = performance.now();

  /** To be called between short steps. */
  breathe(): Promise<void> | undefined {
    if (performance.now() - this.since < SLICE_MS) return undefined;
    return new Promise((resolve) =>
      setImmediate(() => {
        this.since = performance.now();
        resolve();
      }),
    );
  }
}
