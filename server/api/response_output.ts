/**
 * The output of a response as it grows: reasoning, a message, calls of functions, each an item with
 * events of its own.
 *
 * @module
 */

import type { ToolCall } from "../../models/mod.ts";
import type { WirePiece } from "../engine/protocol.ts";

/** One event of the stream. */
export interface OutputEvent extends Readonly<Record<string, unknown>> {
  readonly type: string;
}

/** An item of the output. */
export type OutputItem = Readonly<Record<string, unknown>> & { readonly type: string };

/** An item that still grows. */
interface Growing {
  readonly kind: "reasoning" | "message";
  readonly id: string;
  text: string;
}

/** Builds items of pieces; every call gives the events that follow from it. */
export class ResponseOutput {
  readonly items: OutputItem[] = [];
  #growing: Growing | undefined;

  constructor(readonly responseId: string) {}

  /** Adds a piece. */
  *take({ text, reasoning, toolCalls = [] }: WirePiece): Generator<OutputEvent, void> {
    if (reasoning) yield* this.#grow("reasoning", reasoning);
    if (text) yield* this.#grow("message", text);
    for (const call of toolCalls) {
      yield* this.finish();
      yield* this.#call(call);
    }
  }

  /** Ends the item that grows. */
  *finish(): Generator<OutputEvent, void> {
    const growing = this.#growing;
    if (!growing) return;
    this.#growing = undefined;
    const { output_index, item_id } = { output_index: this.items.length, item_id: growing.id };
    const item = whole(growing, "completed");
    const place = { output_index, item_id, content_index: 0 };
    const { text, kind } = growing;
    if (kind === "message") {
      yield { type: "response.output_text.done", ...place, text, logprobs: [] };
    } else yield { type: "response.reasoning_text.done", ...place, text };
    yield { type: "response.content_part.done", ...place, part: partOf(kind, text) };
    this.items.push(item);
    yield { type: "response.output_item.done", output_index, item };
  }

  *#grow(kind: Growing["kind"], text: string): Generator<OutputEvent, void> {
    if (this.#growing?.kind !== kind) {
      yield* this.finish();
      yield* this.#open(kind);
    }
    const growing = this.#growing;
    if (!growing) return;
    growing.text += text;
    const place = { output_index: this.items.length, item_id: growing.id, content_index: 0 };
    const type = kind === "message"
      ? "response.output_text.delta"
      : "response.reasoning_text.delta";
    yield { type, ...place, delta: text, ...(kind === "message" && { logprobs: [] }) };
  }

  *#open(kind: Growing["kind"]): Generator<OutputEvent, void> {
    const id = `${kind === "message" ? "msg" : "rs"}_${
      this.responseId.slice(-12)
    }_${this.items.length}`;
    const growing: Growing = { kind, id, text: "" };
    this.#growing = growing;
    const output_index = this.items.length;
    const item = { ...whole(growing, "in_progress"), content: [] };
    yield { type: "response.output_item.added", output_index, item };
    yield {
      type: "response.content_part.added",
      output_index,
      item_id: id,
      content_index: 0,
      part: partOf(kind, ""),
    };
  }

  *#call({ name, arguments: given }: ToolCall): Generator<OutputEvent, void> {
    const output_index = this.items.length;
    const suffix = `${this.responseId.slice(-12)}_${output_index}`;
    const text = JSON.stringify(given);
    const item = {
      type: "function_call",
      id: `fc_${suffix}`,
      call_id: `call_${suffix}`,
      name,
      arguments: text,
      status: "completed",
    };
    const added = { ...item, arguments: "", status: "in_progress" };
    const place = { output_index, item_id: item.id };
    yield { type: "response.output_item.added", output_index, item: added };
    yield { type: "response.function_call_arguments.delta", ...place, delta: text };
    yield { type: "response.function_call_arguments.done", ...place, name, arguments: text };
    this.items.push(item);
    yield { type: "response.output_item.done", output_index, item };
  }
}

function whole({ kind, id, text }: Growing, status: string): OutputItem {
  const content = [partOf(kind, text)];
  if (kind === "message") return { type: "message", id, role: "assistant", status, content };
  return { type: "reasoning", id, summary: [], content, status };
}

function partOf(kind: Growing["kind"], text: string) {
  if (kind === "reasoning") return { type: "reasoning_text", text };
  return { type: "output_text", text, annotations: [], logprobs: [] };
}
