/**
 * Kernels: what WebGPU runs for each op, and how shaders are put together.
 *
 * @module
 */

export * from "./compose.ts";
export type { CpuCache, CpuCall, CpuInputs, CpuKernel } from "./cpu/kernel.ts";
export * from "./cpu/registry.ts";
export * from "./cpu/sample.ts";
export * from "./dense/sample.ts";
export type * from "./format_access.ts";
export * from "./kernel.ts";
export { autoConfig } from "./moe/auto.ts";
export * from "./moe/backend.ts";
export * from "./moe/candidates.ts";
export * from "./moe/config.ts";
export * from "./moe/select.ts";
export * from "./moe/spec.ts";
export * from "./moe/tuned.ts";
export { TUNED_ROWS, tunedRow } from "./moe/tuned_row.ts";
export * from "./registry.ts";
export * from "./weight_access.ts";
