import { describe, expect, test } from "vitest";
import { ApiAccess, type Asked, makeCode, readOnlyToken } from "./access.ts";

const token = "a-token-of-the-cluster";
const access = () =>
  new ApiAccess({
    tokens: () => [token, "an-older-token-of-it"],
    cookieName: "mobula-1",
    isOwnHost: (host) => host === "127.0.0.1:1",
    isSecure: false,
  });
const get = (more: Partial<Asked>): Asked => ({ method: "GET", host: "127.0.0.1:1", ...more });
const cookieFor = (of: ApiAccess, nowMs = 0): string =>
  (of.redeem(makeCode(token, nowMs), nowMs) ?? "").split(";")[0] ?? "";

describe("bearer tokens", () => {
  test.each([token, "an-older-token-of-it"])("%s may do everything", (bearer) => {
    expect(access().decide(get({ authorization: `Bearer ${bearer}`, method: "POST" }), 0)).toEqual({ role: "admin" });
  });
  test("the read-only one reads and changes nothing", () => {
    const authorization = `Bearer ${readOnlyToken(token)}`;
    expect(access().decide(get({ authorization }), 0)).toEqual({ role: "reader" });
    expect(access().decide(get({ authorization, method: "DELETE" }), 0)).toMatchObject({ status: 403 });
  });
  test.each(["", "Bearer wrong", "Basic abc", `Bearer ${token}x`])('"%s" is refused', (authorization) => {
    expect(access().decide(get({ authorization }), 0)).toMatchObject({ status: 401 });
  });
  test("one is good from any host, for no browser sends it by itself", () => {
    expect(access().decide(get({ authorization: `Bearer ${token}`, host: "head.example" }), 0)).toEqual({
      role: "admin",
    });
  });
});

describe("codes and cookies", () => {
  test("a code is good once", () => {
    const one = access();
    const code = makeCode(token, 0);
    expect(one.redeem(code, 1_000)).toMatch(/^mobula-1=admin\.\S+; Path=\/; HttpOnly; SameSite=Strict; Max-Age=43200$/);
    expect(one.redeem(code, 2_000)).toBeUndefined();
  });
  test("a code ends after ten minutes, one of an embedded run with the run", () => {
    expect(access().redeem(makeCode(token, 0), 600_001)).toBeUndefined();
    expect(access().redeem(makeCode(token, 0, Number.POSITIVE_INFINITY), 1e12)).toBeDefined();
  });
  test.each(["", "a.b.c", makeCode("another-token-than-that", 0), makeCode(token, 0).replace(/\.\w+\./, ".zzzzzz.")])(
    '"%s" is no code',
    (code) => expect(access().redeem(code, 0)).toBeUndefined(),
  );
  test("the cookie may do everything for twelve hours", () => {
    const one = access();
    const cookie = cookieFor(one);
    expect(one.decide(get({ cookie: `other=1; ${cookie}`, method: "POST" }), 1_000)).toEqual({ role: "admin" });
    expect(one.decide(get({ cookie }), 12 * 3_600_000 + 1)).toMatchObject({ status: 401 });
    expect(one.decide(get({ cookie: cookie.replace("admin", "owner") }), 0)).toMatchObject({ status: 401 });
  });
  test("with a cookie, Host and Origin must be its own", () => {
    const one = access();
    const cookie = cookieFor(one);
    expect(one.decide(get({ cookie, host: "evil.example:1" }), 0)).toMatchObject({ status: 403 });
    expect(one.decide(get({ cookie, origin: "http://evil.example" }), 0)).toMatchObject({ status: 403 });
    expect(one.decide(get({ cookie, origin: "http://127.0.0.1:1", method: "POST" }), 0)).toEqual({ role: "admin" });
  });
});
