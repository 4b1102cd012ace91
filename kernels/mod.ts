/**
 * Kernels: what WebGPU runs for each op, and how shaders are put together.
 *
 * @module
 */

export * from "./compose.ts";
export type * from "./format_access.ts";
export * from "./kernel.ts";
export * from "./registry.ts";
export * from "./weight_access.ts";
