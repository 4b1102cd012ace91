/**
 * Serving: OpenAI's API and a web page over HTTP, the engine in a process of its own.
 *
 * @module
 */

export { type LogOptions, type OpenLog, openLog } from "./logging.ts";
export { type RunningServer, serve, type ServeContext } from "./serve.ts";
export { isLoopbackUrl, type ServeOptions } from "./settings.ts";
