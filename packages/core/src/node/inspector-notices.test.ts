import { expect, test } from "vitest";
import { InspectorNotices } from "./inspector-notices.ts";

const url = "ws://127.0.0.1:34923/2b7f0834-37bf-4fd4-86e2-37b2ed5979ed";
const listening = `Debugger listening on ${url}\nFor help, see: https://nodejs.org/learn/getting-started/debugging\n`;

function filtered(...chunks: readonly string[]): { readonly text: string; readonly urls: readonly string[] } {
  const notices = new InspectorNotices();
  const urls: string[] = [];
  notices.onListening = (found) => urls.push(found);
  const parts = [...chunks.map((chunk) => notices.push(Buffer.from(chunk))), notices.finish()];
  return { text: Buffer.concat(parts).toString(), urls };
}

test("what Node.js says of its inspector is taken out, and where it listens is told", () => {
  expect(filtered(`before\n${listening}between\nDebugger attached.\nafter\n`)).toEqual({
    text: "before\nbetween\nafter\n",
    urls: [url],
  });
  expect(filtered(`no line end: ${listening}goes on\n`).text).toBe("no line end: goes on\n");
});

test("a notice that comes in pieces is one all the same, wherever it is cut", () => {
  const text = `first\n${listening}Debugger attached.\nlast\n`;
  for (let at = 1; at < text.length; at++) {
    const whole = filtered(text.slice(0, at), text.slice(at));
    expect(whole.urls, `cut at ${at}`).toEqual([url]);
    expect(whole.text).toContain("first\n");
    expect(whole.text).toContain("last\n");
  }
});

test("what a program prints itself stays, every byte of it", () => {
  const own = "Debugger is not what this is about\nä€😀 For help, see: https://example.org\nDebugger ";
  expect(filtered(own)).toEqual({ text: own, urls: [] });
  expect(filtered("Debugger", " of mine\n").text).toBe("Debugger of mine\n");
});
