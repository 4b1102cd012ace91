/**
 * Property tests: random values, shrunk where a property fails. For tests alone.
 *
 * @module
 */

import fc from "npm:fast-check@4.10.2";

// The gate's cases are the same every time; elsewhere each run draws new ones.
if (Deno.env.get("CI")) fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: 20261123 });

export default fc;
