/**
 * The web page in a browser.
 *
 * @module
 */

import { browserTest } from "../support/browser_tests.ts";

browserTest("the page works in a browser", "page.ts");
