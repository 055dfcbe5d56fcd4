/** Where a process finds what it proves itself with to others of its cluster, and what it demands of them: files that may change. */
export interface AccessFiles {
  /** The tokens of the cluster, one a line: all are accepted, and the first is used. */
  readonly tokenFile: string;
  readonly tls?: TlsFiles;
}

/** Paths of PEM files. */
export interface TlsFiles {
  /** This process' certificate chain; a listener needs one. */
  readonly cert?: string;
  readonly key?: string;
  /**
   * The certificates that sign those of the other side. With it, listeners demand certificates and diallers check them.
   * Without, the token proves who is there: what is proven is bound to this TLS connection, so nobody can sit between.
   */
  readonly ca?: string;
  /** The name in a listener's certificate, where that is not the host that is dialled. */
  readonly serverName?: string;
}
