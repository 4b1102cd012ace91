/**
 * YAML with source ranges, so that an error points at a line.
 *
 * @module
 */

export * from "npm:yaml@2.9.1";
