/** What a bulk connection brings lies where its reader wants it, with TLS and without. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BulkReader, dialBulk } from "./bulk.ts";
import { TestCertificates } from "./test-certificates.ts";
import { TestListener, TOKEN } from "./test-listener.ts";
import { Tls } from "./tls.ts";

const HEAD = Buffer.from("head");
/** More than one record of TLS, and more than one read. */
const BODY = randomBytes(3 * 2 ** 20 + 17);

let certificates: TestCertificates;
beforeAll(() => {
  certificates = new TestCertificates();
  certificates.makeAuthority("authority");
  certificates.make("node", "authority");
});
afterAll(() => certificates.remove());

/** First a head, for which there is no telling where it goes; then the rest goes to its place. */
class Reader implements BulkReader {
  readonly head: Buffer[] = [];
  readonly body = new Uint8Array(BODY.length);
  private at = 0;
  private readonly done: () => void;

  constructor(done: () => void) {
    this.done = done;
  }

  private get headBytes(): number {
    return this.head.reduce((sum, { length }) => sum + length, 0);
  }

  room(): Uint8Array | undefined {
    return this.headBytes < HEAD.length || this.at === BODY.length ? undefined : this.body.subarray(this.at);
  }

  filled(bytes: number): void {
    this.at += bytes;
    if (this.at === BODY.length) this.done();
  }

  overflowed(bytes: Uint8Array): void {
    const missing = HEAD.length - this.headBytes;
    this.head.push(Buffer.from(bytes.subarray(0, missing)));
    this.body.set(bytes.subarray(missing), this.at);
    if (bytes.length > missing) this.filled(bytes.length - missing);
  }
}

describe("a bulk connection", () => {
  for (const isSecure of [false, true]) {
    test(`brings all bytes to their places ${isSecure ? "with" : "without"} TLS`, async () => {
      const tls = isSecure ? new Tls(certificates.of("node", "authority")) : undefined;
      const listener = await TestListener.open({ tls });
      const { socket, read } = await dialBulk({ address: listener.address, token: TOKEN, who: { nodeId: "n" }, tls });
      try {
        expect(listener.hellos).toMatchObject([{ who: { nodeId: "n" }, role: "bulk" }]);
        const [there] = listener.sockets;
        there?.write(HEAD);
        there?.write(BODY);
        const reader = await new Promise<Reader>((resolve) => {
          const one: Reader = new Reader(() => resolve(one));
          read(one);
        });
        expect(Buffer.concat(reader.head).equals(HEAD)).toBe(true);
        expect(BODY.equals(reader.body)).toBe(true);
      } finally {
        socket.destroy();
        await listener.close();
      }
    });

    test(`that leads nowhere is an error ${isSecure ? "with" : "without"} TLS`, async () => {
      const tls = isSecure ? new Tls(certificates.of("node", "authority")) : undefined;
      const listener = await TestListener.open({ tls });
      await listener.close();
      const dialled = dialBulk({ address: listener.address, token: TOKEN, who: {}, tls });
      await expect(dialled).rejects.toMatchObject({ code: "CONNECTION_LOST" });
    });
  }
});
