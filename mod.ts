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
export type { DeployEvent, PipelineDeployOptions, Plugin, ResolvedPipeline } from "./dsl/mod.ts";
export {
  CheckpointError,
  ConfigError,
  DeviceError,
  Graph,
  GraphBuilder,
  GraphError,
  KernelError,
  MixlineError,
  printGraph,
  RequestError,
} from "./graph/mod.ts";
export {
  type DeviceMoeSpec,
  type Dispatch,
  foldGrid,
  type MoeBackend,
  type MoeBackendTypes,
  type MoeSpec,
  type MoeValues,
  registerMoeBackend,
} from "./kernels/mod.ts";
export { type ChatMessage, defineArchitecture, registerArchitecture } from "./models/mod.ts";
export { fusedMoe, openExecutor, testMoeBackend } from "./runtime/mod.ts";
export type {
  Engine,
  FusedMoeOptions,
  GenerateOptions,
  MoeBackendRow,
  TestMoeBackendOptions,
} from "./runtime/mod.ts";
export { defineTransform, registerTransform, type TransformDefinition } from "./transforms/mod.ts";

// Types in what is above, for whoever names them: authors of transforms, backends, architectures.
export type {
  ConfigSource,
  DeployOptions,
  Origin,
  PipelineStart,
  ResolvedTransform,
  ResolvedValue,
  Settings,
  SettingsInput,
  TransformMethods,
  TypeScriptOptions,
  VerifyRow,
  YamlOptions,
} from "./dsl/mod.ts";
export type {
  ActivationQuant,
  MoeActivation,
  MoeOperands,
  Node,
  NodeInputs,
  OpName,
  TensorType,
  Value,
  Weight,
  WeightFormat,
} from "./graph/mod.ts";
export type {
  Binding,
  DeviceProfile,
  MoeBackendName,
  MoeNote,
  Scratch,
  StepSizes,
  TunedFiles,
} from "./kernels/mod.ts";
export type {
  Architecture,
  ArchitectureDefinition,
  ModelConfig,
  Vocabulary,
} from "./models/mod.ts";
export type {
  AllowedTokens,
  DispatchTiming,
  Elements,
  EngineReport,
  Executor,
  ExecutorChoice,
  Generation,
  Prompt,
  SchedulerStats,
  WebGpuExecutor,
  WebGpuExecutorOptions,
} from "./runtime/mod.ts";
export type {
  BaseConfig,
  DefinitionFields,
  Stage,
  TransformContext,
  TransformKey,
  TransformPlan,
  TransformRecord,
} from "./transforms/mod.ts";
