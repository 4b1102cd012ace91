/**
 * A real browser for the page's tests. For tests alone.
 *
 * @module
 */

export { type Browser, chromium, type Page } from "npm:playwright-core@1.65.1";
