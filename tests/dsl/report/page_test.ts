/**
 * The page of a deployment in a browser.
 *
 * @module
 */

import { browserTest } from "../../support/browser_tests.ts";

browserTest("the page of a deployment works in a browser", "report.ts");
