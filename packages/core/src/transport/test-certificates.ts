/** For tests: certificates of the day, made by `openssl`; Node.js has nothing that makes them. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TlsFiles } from "../wire/mod.ts";

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

export class TestCertificates {
  private readonly folder = mkdtempSync(join(tmpdir(), "mobula-tls-"));

  file(name: string): string {
    return join(this.folder, name);
  }

  of(name: string, ca?: string): TlsFiles {
    const files = { cert: this.file(`${name}.pem`), key: this.file(`${name}.key`) };
    return ca === undefined ? files : { ...files, ca: this.file(`${ca}.pem`) };
  }

  makeAuthority(name: string): void {
    this.openssl("req", "-x509", ...NEW_KEY, "-days", "2", "-subj", `/CN=${name}`, ...this.output(name, "pem"));
  }

  /** For 127.0.0.1 and the name node.mobula, whatever its subject. */
  make(name: string, authority: string, subject = name): void {
    const names = "subjectAltName=IP:127.0.0.1,DNS:node.mobula";
    this.openssl("req", ...NEW_KEY, "-subj", `/CN=${subject}`, "-addext", names, ...this.output(name, "csr"));
    const signed = ["-CA", `${authority}.pem`, "-CAkey", `${authority}.key`, "-CAcreateserial"];
    const request = ["-req", "-in", `${name}.csr`, "-days", "2", "-copy_extensions", "copy", "-out", `${name}.pem`];
    this.openssl("x509", ...request, ...signed);
  }

  /** A file with several authorities. */
  join(name: string, ...authorities: string[]): void {
    writeFileSync(this.file(`${name}.pem`), authorities.map((one) => readFileSync(this.file(`${one}.pem`))).join("\n"));
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  private output(name: string, kind: "pem" | "csr"): string[] {
    return ["-keyout", `${name}.key`, "-out", `${name}.${kind}`];
  }

  private openssl(...args: string[]): void {
    execFileSync("openssl", args, { cwd: this.folder, stdio: "pipe" });
  }
}
