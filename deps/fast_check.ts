/**
 * Property tests: random values, shrunk where a property fails. For tests alone.
 *
 * @module
 */

export { default } from "npm:fast-check@4.10.2";
