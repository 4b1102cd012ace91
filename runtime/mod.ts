/**
 * The runtime: executors for the CPU and WebGPU, the paged cache, generation, the engine.
 *
 * @module
 */

export * from "./cpu/executor.ts";
export * from "./engine.ts";
export type { EngineReport, ExecutorReport, PhaseReport } from "./engine_report.ts";
export * from "./executor.ts";
export * from "./executors.ts";
export { configuredOperands, configuredRanges } from "./compile_fields.ts";
export * from "./fused_moe.ts";
export * from "./generation/generate.ts";
export * from "./generation/generate_options.ts";
export * from "./generation/prompt_reader.ts";
export type { FinishReason, Piece } from "./generation/piece_queue.ts";
export type { AllowedTokens, DrawOptions } from "./generation/next_draw.ts";
export { cacheBytes, pagesFor } from "./scheduling/kv_cache.ts";
export { differentIds, type ExpertLoad } from "./scheduling/direct_steps.ts";
export type { Counters, SchedulerStats } from "./scheduling/scheduler_stats.ts";
export * from "./scheduling/fit_pages.ts";
export * from "./scheduling/step_limits.ts";
export * from "./webgpu/measure/ceilings.ts";
export { tokenRanges } from "./webgpu/plan/buckets.ts";
export { WEBGPU_CHOICES, type WebGpuChoice } from "./webgpu/providers/mod.ts";
export { GPU_ENVIRONMENT } from "./webgpu/device/gpu_environment.ts";
export { openDevice, type OpenDeviceOptions, WebGpuDevice } from "./webgpu/device/device.ts";
export {
  openWebGpuExecutor,
  WebGpuExecutor,
  type WebGpuExecutorOptions,
} from "./webgpu/executor.ts";
export type { WebGpuProgram } from "./webgpu/program.ts";
export * from "./output_file.ts";
export * from "./test_moe_backend.ts";
export * from "./tuned_files.ts";
export { MoeTrial, type PreparedLayer } from "./webgpu/measure/moe_trial.ts";
export { PipelineCache } from "./webgpu/device/pipelines.ts";
export { Readback } from "./webgpu/device/readback.ts";
export { type OpCase, OpTrial, type PreparedOp } from "./webgpu/measure/op_trial.ts";
export { ResultCheck } from "./webgpu/measure/result_check.ts";
export * from "./webgpu/measure/stopwatch.ts";
export * from "./webgpu/measure/tune_moe.ts";
export * from "./webgpu/measure/tune_op.ts";
