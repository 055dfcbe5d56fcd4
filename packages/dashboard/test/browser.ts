/** The system's Chromium, driven by Playwright. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";

const CHROMIUM = "/usr/bin/chromium";
/** Where there is none, tests that need it are skipped by their names. */
export const hasChromium: boolean = existsSync(CHROMIUM);

export const launch = (): Promise<Browser> =>
  chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--headless=new"] });

export type Scheme = "light" | "dark";
export type Width = "desktop" | "phone";
const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } } as const;

/** A page that notes what must not happen: errors on the console, and requests to anybody else. */
export interface Watched {
  readonly page: Page;
  readonly context: BrowserContext;
  readonly problems: string[];
}

export async function openPage(
  browser: Browser,
  origin: string,
  { scheme = "light", width = "desktop" }: { readonly scheme?: Scheme; readonly width?: Width } = {},
): Promise<Watched> {
  const context = await browser.newContext({
    viewport: SIZES[width],
    colorScheme: scheme,
    hasTouch: width === "phone",
  });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`uncaught: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${origin}/`) && !url.startsWith("blob:") && !url.startsWith("data:")) {
      problems.push(`request to another host: ${url}`);
    }
  });
  return { page, context, problems };
}

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds that is serious or critical, in words. */
export async function seriousFaults(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { axe: runner } = window as unknown as { axe: typeof import("axe-core") };
    const { violations } = await runner.run(document, { resultTypes: ["violations"] });
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .flatMap(({ id, nodes }) =>
        nodes.slice(0, 3).map((node) => `${id}: ${node.html.slice(0, 160)} ${node.failureSummary ?? ""}`),
      );
  });
}

/** Milliseconds until the browser has drawn what an action leads to. */
export function measureAction(
  page: Page,
  selector: string,
  event: "click" | "change",
  value?: string,
): Promise<number> {
  return page.evaluate(
    async ({ selector, event, value }) => {
      const element = document.querySelector<HTMLElement>(selector);
      if (element === null) throw new Error(`there is no ${selector}`);
      const fromMs = performance.now();
      if (event === "click") element.click();
      else {
        Object.getOwnPropertyDescriptor(HTMLSelectElement.prototype, "value")?.set?.call(element, value);
        element.dispatchEvent(new Event("change", { bubbles: true }));
      }
      // After the second frame the first one with the change has been shown.
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      return performance.now() - fromMs;
    },
    { selector, event, value },
  );
}
