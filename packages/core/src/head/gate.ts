/**
 * What a head says leaves it only while nobody else can lead. What it would say while it is suspended is held, since it may
 * lead again; when it has lost it is dropped.
 */
export class Gate {
  readonly isLeading: () => boolean;
  private held: (() => void)[] = [];
  private hasEnded = false;

  constructor(isLeading: () => boolean) {
    this.isLeading = isLeading;
  }

  get isOpen(): boolean {
    return !this.hasEnded && this.held.length === 0 && this.isLeading();
  }

  pass(act: () => void): void {
    if (this.isOpen) act();
    else if (!this.hasEnded) this.held.push(act);
  }

  /** Call it when this head leads again. */
  open(): void {
    const { held } = this;
    let count = 0;
    // Asked before each: it may be stopped in between.
    while (count < held.length && !this.hasEnded && this.isLeading()) held[count++]?.();
    this.held = held.slice(count);
  }

  /** It leads no more. */
  end(): void {
    this.hasEnded = true;
    this.held = [];
  }
}
