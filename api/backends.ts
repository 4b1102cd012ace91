/**
 * What authors of MoE backends need: what a layer is, what a dispatch is, and the suite that compares a
 * backend with the reference.
 *
 * @module
 */

export { definePlugin, type Plugin, type PluginTransform, usePlugin } from "../dsl/mod.ts";
export {
  type Binding,
  type CacheBuffer,
  type DeviceMoeSpec,
  type DeviceProfile,
  type Dispatch,
  type ExpertChoice,
  foldGrid,
  type MatrixShape,
  type MoeBackend,
  type MoeBackendName,
  type MoeBackendTypes,
  type MoeNote,
  type MoeSpec,
  type MoeValues,
  registerMoeBackend,
  type Scratch,
  type StateBuffer,
  type StepBuffer,
  type StepSizes,
  type TunedFiles,
  type TunedText,
  type WordOrder,
} from "../kernels/mod.ts";
export {
  fusedMoe,
  type FusedMoeOptions,
  type MoeBackendRow,
  testMoeBackend,
  type TestMoeBackendOptions,
} from "../runtime/mod.ts";
