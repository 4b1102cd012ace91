/**
 * Models: checkpoints, configs, tokenizers, and eager graphs of the architectures.
 *
 * @module
 */

export * from "./activation.ts";
export * from "./architecture.ts";
export * from "./architectures.ts";
export * from "./attention.ts";
export * from "./blocks.ts";
export * from "./chat/chat_template.ts";
export * from "./chat/chat.ts";
export { type ChatMessage, readMessages } from "./chat/messages.ts";
export * from "./chat/output/output_format.ts";
export * from "./chat/output/output_formats.ts";
export * from "./checkpoint.ts";
export * from "./class_defaults.ts";
export * from "./decoder.ts";
export * from "./generation_config.ts";
export { GGUF_FAMILIES } from "./gguf/gguf_families.ts";
export { GGUF_TYPES } from "./gguf/gguf_types.ts";
export * from "./hf_config.ts";
export * from "./hub.ts";
export * from "./load_model.ts";
export * from "./loading/evaluate_weights.ts";
export type { FilledRange } from "./loading/run_job.ts";
export * from "./materialize.ts";
export * from "./model_weights.ts";
export * from "./moe_block.ts";
export * from "./moe_router.ts";
export type * from "./quantization/quantization.ts";
export * from "./quantization/read_quantization.ts";
export * from "./quantization/refused_methods.ts";
export * from "./quantization/registry.ts";
export * from "./rope.ts";
export * from "./rotary.ts";
export * from "./safetensors.ts";
export * from "./tokenizer/tokenizer.ts";
export * from "./weight_summary.ts";
