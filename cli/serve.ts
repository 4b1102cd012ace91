/**
 * `serve`: a model behind OpenAI's API, until it is told to end.
 *
 * @module
 */

import type { CommandContext } from "./command.ts";
import { serveFlags } from "./serve_flags.ts";

/** The command. */
export function serveCommand(context: CommandContext) {
  return serveFlags().action(async (flags) => {
    const { serveModel } = await import("./serve_model.ts");
    await serveModel(flags, context);
  });
}
