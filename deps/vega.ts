/**
 * Charts as SVG. For the reports of benches alone.
 *
 * @module
 */

export * from "npm:vega@6.4.0";
