/**
 * The runtime: executors for the CPU and WebGPU, the paged cache, generation, the engine.
 *
 * @module
 */

export * from "./cpu/executor.ts";
export * from "./engine.ts";
export * from "./executor.ts";
export * from "./executors.ts";
export * from "./fused_moe.ts";
export * from "./generate.ts";
export * from "./generate_options.ts";
export * from "./kv_cache.ts";
export type { StepLimits } from "./scheduler.ts";
export * from "./step_limits.ts";
export * from "./webgpu/ceilings.ts";
export { openDevice, type OpenDeviceOptions, WebGpuDevice } from "./webgpu/device.ts";
export {
  openWebGpuExecutor,
  WebGpuExecutor,
  type WebGpuExecutorOptions,
} from "./webgpu/executor.ts";
export type { WebGpuProgram } from "./webgpu/program.ts";
export * from "./tuned_files.ts";
export { MoeTrial, type PreparedLayer } from "./webgpu/moe_trial.ts";
export { PipelineCache } from "./webgpu/pipelines.ts";
export { Readback } from "./webgpu/readback.ts";
export * from "./webgpu/stopwatch.ts";
export * from "./webgpu/tune_moe.ts";
