/** What the head that leads knows of the others: those that stand by are connected to it. */
import type { Peer, PeerHandlers } from "../transport/mod.ts";
import type { KnownHeads } from "../wire/cluster-messages.ts";

export class Heads {
  private readonly address: () => string;
  private readonly onChange: () => void;
  private readonly connected = new Map<Peer, string>();

  /** @param address of the one that leads: this one. */
  constructor(address: () => string, onChange: () => void) {
    this.address = address;
    this.onChange = onChange;
  }

  get leader(): string {
    return this.address();
  }

  get standbys(): readonly string[] {
    return [...new Set(this.connected.values())].sort();
  }

  get message(): KnownHeads {
    return { t: "known-heads", addresses: [this.leader, ...this.standbys] };
  }

  add(peer: Peer, address: string): PeerHandlers {
    this.connected.set(peer, address);
    this.onChange();
    return {
      onMessage() {},
      onClose: () => {
        this.connected.delete(peer);
      },
    };
  }

  stop(): void {
    for (const peer of this.connected.keys()) peer.destroy();
  }
}
