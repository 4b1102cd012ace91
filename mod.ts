/**
 * Mixline deploys mixture-of-experts language models on any GPU that WebGPU reaches. A pipeline of
 * transforms, scripted here or read from YAML, turns a model into fused kernels and runs it.
 *
 * @example
 * ```ts
 * import { pipeline } from "./mod.ts";
 *
 * await using engine = await pipeline() // configs/default.yaml
 *   .fuseMoe({ backend: "triton" })
 *   .deploy({ model: "demo/storyteller" });
 *
 * let story = "";
 * for await (const { text } of engine.generate("Once upon a time", { maxNewTokens: 8 })) {
 *   story += text;
 * }
 * console.assert(story.length > 0);
 * ```
 *
 * @module
 */

export { definePlugin, deploy, Pipeline, pipeline, usePlugin } from "./dsl/mod.ts";
export {
  CheckpointError,
  ConfigError,
  DeviceError,
  Graph,
  GraphBuilder,
  GraphError,
  KernelError,
  MixlineError,
  OutputError,
  printGraph,
  RequestError,
} from "./graph/mod.ts";
export { foldGrid, registerMoeBackend } from "./kernels/mod.ts";
export { defineArchitecture, registerArchitecture } from "./models/mod.ts";
export { EXECUTOR_CHOICES, fusedMoe, openExecutor, testMoeBackend } from "./runtime/mod.ts";
export { defineSampler, defineTransform, registerTransform } from "./transforms/mod.ts";

// Types of what is above, for whoever names them.
export type {
  ConfigSource,
  DeployEvent,
  DeployOptions,
  Origin,
  PipelineDeployOptions,
  PipelineStart,
  Plain,
  PlainRecord,
  ResolvedPipeline,
  ResolvedTransform,
  ResolvedValue,
  Settings,
  SettingsInput,
  TransformMethods,
  TypeScriptOptions,
  VerifyRow,
  YamlOptions,
} from "./dsl/mod.ts";
export type { ChatMessage, ChatVariables, ToolCall, Vocabulary } from "./models/mod.ts";
export type {
  AllowedTokens,
  Counters,
  DispatchTiming,
  Elements,
  Engine,
  EngineReport,
  Executor,
  ExecutorChoice,
  ExecutorKind,
  ExecutorReport,
  ExpertLoad,
  FinishReason,
  GenerateOptions,
  Generation,
  Message,
  OpenDeviceOptions,
  OpenedExecutor,
  PhaseReport,
  Piece,
  PlannedRequest,
  Prompt,
  SchedulerStats,
  StepLimits,
  WebGpuChoice,
  WebGpuExecutorOptions,
} from "./runtime/mod.ts";
export type { FieldsByTransform, TransformFields, TransformKey } from "./transforms/mod.ts";
export type * from "./api/architectures.ts";
export type * from "./api/backends.ts";
export type * from "./api/samplers.ts";
export type * from "./api/transforms.ts";
