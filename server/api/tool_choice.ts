/**
 * Which tools a request lets the model call, and which it demands.
 *
 * @module
 */

import type { WireOptions } from "../engine/protocol.ts";
import { invalidField } from "../errors.ts";
import { withoutAbsent } from "./sampling.ts";

/** The fields of a request, in the form that templates read. */
export interface ToolRequest {
  readonly tools: readonly ChatTool[] | null | undefined;
  readonly choice: "none" | "auto" | "required" | { readonly name: string } | null | undefined;
  /** `parallel_tool_calls` of the request. */
  readonly parallel: boolean | null | undefined;
}

/** A tool of a chat. */
export interface ChatTool {
  readonly function: { readonly name: string };
}

/**
 * Options for the engine. Without `parallel`, an answer ends after its first call.
 *
 * @throws {RequestError} for a choice that demands a tool which the request does not have.
 */
export function toolOptions({ tools, choice, parallel }: ToolRequest): WireOptions {
  const names = (tools ?? []).map((tool) => tool.function.name);
  if (choice === "none") return {};
  const isForced = choice === "required" || (typeof choice === "object" && choice !== null);
  if (isForced) checkForced(names, choice);
  return withoutAbsent({
    tools: names.length > 0 ? tools : undefined,
    toolChoice: isForced ? choice : undefined,
    oneCall: names.length > 0 && parallel === false ? true : undefined,
  });
}

function checkForced(names: readonly string[], choice: "required" | { readonly name: string }) {
  if (names.length === 0) {
    throw invalidField(
      "tool_choice",
      "Cannot force a call of a tool: expected tools in the request, got none",
    );
  }
  if (choice === "required" || names.includes(choice.name)) return;
  throw invalidField(
    "tool_choice",
    `Cannot force a call of a tool: expected ${
      names.map((name) => `"${name}"`).join(" or ")
    }, got "${choice.name.slice(0, 64)}"`,
  );
}
