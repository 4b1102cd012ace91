/**
 * Kernels: what WebGPU runs for each op, and how shaders are put together.
 *
 * @module
 */

export type * from "./access/access.ts";
export { isSameOrder } from "./access/order.ts";
export { reorderDispatches } from "./access/reorder.ts";
export * from "./access/weights.ts";
export * from "./compose.ts";
export type { CpuCache, CpuCall, CpuInputs, CpuKernel } from "./cpu/kernel.ts";
export * from "./cpu/registry.ts";
export * from "./cpu/sample.ts";
export { standardWgsl } from "./enables.ts";
export * from "./kernel.ts";
export * from "./moe/algorithms/config.ts";
export { autoConfig } from "./moe/auto.ts";
export * from "./moe/backend.ts";
export { callBackend } from "./moe/check_backend.ts";
export { compileMoeLayer } from "./moe/compile_layer.ts";
export { BUILTIN_BACKENDS } from "./moe/builtin.ts";
export { expertChoices } from "./moe/expert_choice.ts";
export * from "./moe/select.ts";
export * from "./moe/spec.ts";
export * from "./moe/tuning/candidates.ts";
export * from "./moe/tuning/tuned.ts";
export { TUNED_ROWS, tunedRow } from "./moe/tuning/tuned_row.ts";
export * from "./registry.ts";
export * from "./sampling/draw_details.ts";
export * from "./sampling/sample.ts";
export { decodeRow } from "./attention/tuned_decode.ts";
export { gemvRow } from "./linear/tuned_gemv.ts";
export { parseTable } from "./tuned_table.ts";
