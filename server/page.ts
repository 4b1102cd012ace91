/**
 * The web page at `/`: four files of this project, nothing from other servers.
 *
 * @module
 */

import type { OpenAPIHono } from "../deps/hono.ts";
import css from "./page/page.css" with { type: "text" };
import html from "./page/index.html" with { type: "text" };
import experts from "./page/experts.js" with { type: "text" };
import script from "./page/page.js" with { type: "text" };

const FILES: Readonly<Record<string, { readonly type: string; readonly text: string }>> = {
  "/": { type: "text/html", text: html },
  "/page.css": { type: "text/css", text: css },
  "/experts.js": { type: "text/javascript", text: experts },
  "/page.js": { type: "text/javascript", text: script },
};

/** Adds the page's routes. */
export function addPage<Environment extends object>(app: OpenAPIHono<Environment>): void {
  for (const [path, { type, text }] of Object.entries(FILES)) {
    app.get(path, (context) => {
      context.header("content-type", `${type}; charset=utf-8`);
      context.header("cache-control", "no-cache");
      return context.body(text);
    });
  }
}
