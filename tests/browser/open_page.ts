/**
 * Debian's Chromium, for tests of pages.
 *
 * @module
 */

import { type Browser, chromium, type Page } from "../../deps/playwright.ts";

/** A page of a fresh browser, and what went wrong in it. */
export interface OpenPage extends AsyncDisposable {
  readonly page: Page;
  /** Errors of scripts, refusals of the content policy, and requests to other machines. */
  readonly complaints: string[];
}

/** Opens a page of a server of this machine. */
export async function openPage(
  url: string,
  view: { width: number; height: number; dark?: boolean } = { width: 1200, height: 800 },
): Promise<OpenPage> {
  const browser: Browser = await chromium.launch({
    executablePath: Deno.env.get("MIXLINE_TEST_BROWSER"),
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
  });
  const page = await browser.newPage({
    viewport: view,
    colorScheme: view.dark ? "dark" : "light",
  });
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) {
      complaints.push(`a request to ${request.url()}`);
    }
  });
  await page.goto(url);
  return { page, complaints, [Symbol.asyncDispose]: () => browser.close() };
}
