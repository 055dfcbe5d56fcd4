/**
 * Who may use the API. A bearer token is the cluster's own, or the read-only one that is derived from it. A browser comes with a
 * one-time code, which whoever knows the token can make, and gets a cookie for it. Pure but for the HMACs.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { randomBytes } from "../base/random.ts";

export type Role = "admin" | "reader";

const COOKIE_MS = 12 * 60 * 60_000;
const CODE_MS = 10 * 60_000;
/** Codes that were used are remembered until they end by themselves, and at most so many. */
const USED_MAX = 100_000;

const hmac = (token: string, text: string): string => createHmac("sha256", token).update(text).digest("base64url");

/** Reads all and changes nothing; from the token it can be made, and not the other way round. */
export const readOnlyToken = (token: string): string => `ro-${hmac(token, "mobula read-only")}`;

/**
 * A code for a link, good for one use.
 *
 * @param lifeMs default ten minutes; Infinity for one that ends with the run that it is of.
 */
export function makeCode(token: string, nowMs: number, lifeMs = CODE_MS): string {
  const expiry = Number.isFinite(lifeMs) ? Math.round(nowMs + lifeMs) : 0;
  const stem = `${randomBytes(12).toString("base64url")}.${expiry.toString(36)}`;
  return `${stem}.${hmac(token, `code ${stem}`)}`;
}

export interface Asked {
  /** Of the request's headers, in lower case. */
  readonly authorization?: string | undefined;
  readonly cookie?: string | undefined;
  readonly host?: string | undefined;
  readonly origin?: string | undefined;
  readonly method: string;
}

export type Verdict = { readonly role: Role } | { readonly status: 401 | 403; readonly message: string };

export interface ApiAccessOptions {
  readonly tokens: () => readonly string[];
  readonly cookieName: string;
  /** Names beside those of this machine by which it is reached; a browser that says another one was led here. */
  readonly isOwnHost: (host: string) => boolean;
  readonly isSecure: boolean;
}

export class ApiAccess {
  private readonly options: ApiAccessOptions;
  private readonly used = new Map<string, number>();

  constructor(options: ApiAccessOptions) {
    this.options = options;
  }

  decide(asked: Asked, nowMs: number): Verdict {
    const bearer = /^bearer\s+(\S+)$/i.exec(asked.authorization ?? "")?.[1];
    if (bearer !== undefined) {
      const role = this.roleOf(bearer);
      return role ? permit(role, asked) : { status: 401, message: "the token is not one of this cluster's" };
    }
    const cookie = cookieOf(asked.cookie, this.options.cookieName);
    if (cookie === undefined) return { status: 401, message: "a token is needed: `mobula token` prints it" };
    // Only a browser sends cookies, and another site may have led it here.
    if (!this.options.isOwnHost(asked.host ?? ""))
      return { status: 403, message: "the Host of the request is not this service's" };
    const scheme = this.options.isSecure ? "https" : "http";
    if (asked.origin !== undefined && asked.origin !== `${scheme}://${asked.host}`)
      return { status: 403, message: "the request comes from a page of another origin" };
    const role = this.roleOfCookie(cookie, nowMs);
    return role
      ? permit(role, asked)
      : { status: 401, message: "the session is over: `mobula dashboard` opens another" };
  }

  /** The cookie for a code, once; undefined when it is none, or was used, or is too old. */
  redeem(code: string, nowMs: number): string | undefined {
    const [nonce = "", expiryText = "", proof = ""] = code.split(".");
    const stem = `${nonce}.${expiryText}`;
    const token = this.options.tokens().find((one) => isEqual(proof, hmac(one, `code ${stem}`)));
    const expiry = Number.parseInt(expiryText, 36);
    if (token === undefined || (expiry > 0 && expiry < nowMs) || this.used.has(nonce)) return undefined;
    for (const [old, ends] of this.used)
      if (this.used.size >= USED_MAX || (ends > 0 && ends < nowMs)) this.used.delete(old);
    this.used.set(nonce, expiry);
    const stemOfCookie = `admin.${Math.round(nowMs + COOKIE_MS).toString(36)}`;
    const value = `${stemOfCookie}.${hmac(token, `cookie ${stemOfCookie}`)}`;
    const secure = this.options.isSecure ? "; Secure" : "";
    return `${this.options.cookieName}=${value}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${COOKIE_MS / 1000}${secure}`;
  }

  private roleOf(bearer: string): Role | undefined {
    let role: Role | undefined;
    for (const token of this.options.tokens()) {
      if (isEqual(bearer, token)) role = "admin";
      else if (isEqual(bearer, readOnlyToken(token))) role ??= "reader";
    }
    return role;
  }

  private roleOfCookie(cookie: string, nowMs: number): Role | undefined {
    const [role = "", expiry = "", proof = ""] = cookie.split(".");
    const isProven = this.options.tokens().some((token) => isEqual(proof, hmac(token, `cookie ${role}.${expiry}`)));
    return isProven && Number.parseInt(expiry, 36) > nowMs && role === "admin" ? role : undefined;
  }
}

const permit = (role: Role, { method }: Asked): Verdict =>
  role === "admin" || method === "GET" || method === "HEAD"
    ? { role }
    : { status: 403, message: "the read-only token changes nothing: use the one that `mobula token` prints" };

/** In a time that does not tell where they differ. */
function isEqual(given: string, wanted: string): boolean {
  const [a, b] = [given, wanted].map((text) => createHmac("sha256", "compare").update(text).digest());
  return a !== undefined && b !== undefined && timingSafeEqual(a, b);
}

function cookieOf(header: string | undefined, name: string): string | undefined {
  for (const part of header?.split(";") ?? []) {
    const [key, value] = part.trim().split("=", 2);
    if (key === name) return value;
  }
  return undefined;
}
