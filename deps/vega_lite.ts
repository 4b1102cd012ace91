/**
 * Charts from a description of what they show. For the reports of benches alone.
 *
 * @module
 */

export * from "npm:vega-lite@6.5.0";
