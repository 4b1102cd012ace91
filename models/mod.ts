/**
 * Models: checkpoints, configs, tokenizers, and eager graphs of the architectures.
 *
 * @module
 */

export * from "./blocks/activation.ts";
export * from "./architecture.ts";
export * from "./architectures.ts";
export * from "./blocks/attention.ts";
export * from "./blocks/basic.ts";
export * from "./chat/chat_template.ts";
export * from "./chat/chat.ts";
export type { AnswerDemand } from "./chat/answer_form.ts";
export type { TextForm } from "./chat/output/text_form.ts";
export { type ChatMessage, readMessages } from "./chat/messages.ts";
export * from "./chat/output/output_format.ts";
export * from "./chat/output/output_formats.ts";
export * from "./checkpoint/checkpoint.ts";
export * from "./config/class_defaults.ts";
export * from "./blocks/decoder.ts";
export * from "./config/generation_config.ts";
export { GGUF_FAMILIES } from "./gguf/gguf_families.ts";
export { GGUF_TYPES } from "./gguf/gguf_types.ts";
export * from "./config/hf_config.ts";
export * from "./checkpoint/hub.ts";
export * from "./checkpoint/hub_needs.ts";
export * from "./load_model.ts";
export * from "./loading/evaluate_weights.ts";
export { type LeafLargest, weightLeaves } from "./loading/largest_numbers.ts";
export type { FilledRange } from "./loading/run_job.ts";
export * from "./loading/materialize.ts";
export * from "./weights/model_weights.ts";
export * from "./blocks/moe_block.ts";
export * from "./blocks/moe_router.ts";
export type * from "./quantization/quantization.ts";
export * from "./quantization/read_quantization.ts";
export * from "./quantization/refused_methods.ts";
export * from "./quantization/registry.ts";
export * from "./config/rope.ts";
export type { LayerTypeReading, RopeReading } from "./config/rope_config.ts";
export * from "./blocks/rotary.ts";
export * from "./checkpoint/safetensors.ts";
export * from "./checkpoint/tensor_statistics.ts";
export * from "./tokenizer/token_bytes.ts";
export * from "./tokenizer/tokenizer.ts";
export * from "./weight_summary.ts";
