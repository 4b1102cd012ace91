/**
 * OpenAI's own client, which the server's tests talk to it with.
 *
 * @module
 */

export { default, OpenAI } from "npm:openai@7.57.0";
