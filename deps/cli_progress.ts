/**
 * Progress bars on a terminal.
 *
 * @module
 */

export { default, type SingleBar } from "npm:cli-progress@3.12.0";
