/**
 * What a WebGPU kernel is: a pure function from a node to dispatches. It makes text and numbers,
 * and never touches a device; the runtime compiles, binds and submits.
 *
 * @module
 */

import type { CacheDtype, MoeOperands, Node, OpName, Value } from "../graph/mod.ts";

/** The facts of a device that kernels may depend on. */
export interface DeviceProfile {
  /** As WebGPU names it, such as `nvidia`; empty where it says nothing. */
  readonly vendor: string;
  /** As WebGPU names it; empty where it says nothing. */
  readonly architecture: string;
  /** The adapter's own words, such as `NVIDIA H100 80GB HBM3`. */
  readonly description: string;
  /** `description` as tuned files spell it: `NVIDIA_H100_80GB_HBM3`. */
  readonly key: string;
  /** True for a software adapter, such as llvmpipe. */
  readonly software: boolean;
  /** Whether shaders may use subgroup operations. */
  readonly subgroups: boolean;
  /** Invocations of a subgroup as measured; 1 without subgroups. */
  readonly subgroupSize: number;
  /** Whether shaders may use f16. */
  readonly shaderF16: boolean;
  /** Matrices f16 × f16 -> f32 that a subgroup multiplies at once (tensor cores); none when absent. */
  readonly matrices?: readonly MatrixShape[];
  /** Whether dispatches can be timed on the device. */
  readonly timestamps: boolean;
  /** Workgroup memory of a shader. */
  readonly maxWorkgroupStorageBytes: number;
  /** Invocations of a workgroup. */
  readonly maxInvocations: number;
  /** Workgroups of a dispatch in x, y or z; see {@linkcode foldGrid}. */
  readonly maxWorkgroupsPerDimension: number;
  /** Bytes of one storage binding. */
  readonly maxBindingBytes: number;
  /** Bytes of one buffer. */
  readonly maxBufferBytes: number;
  /** Storage buffers of one shader. */
  readonly maxStorageBuffers: number;
}

/** One product of matrices: `m × k` times `k × n`. */
export interface MatrixShape {
  /** Rows of the left matrix. */
  readonly m: number;
  /** Columns of the right matrix. */
  readonly n: number;
  /** Columns of the left one, rows of the right one. */
  readonly k: number;
  /** Computed without matrices by plain WGSL: for tests, on devices that have none. */
  readonly plain?: boolean;
}

/** Sizes of the symbols when a step is encoded: tokens, rows with logits, sequences, pages. */
export interface StepSizes {
  /** Tokens. */
  readonly T: number;
  /** Rows with logits. */
  readonly R: number;
  /** Sequences. */
  readonly S: number;
  /** Pages of the longest block table. */
  readonly P: number;
}

/**
 * Memory of one node between its own dispatches; contents do not outlive the node, unless another one
 * names it (`node`).
 */
export interface Scratch {
  /** Tells it from other buffers. */
  readonly kind: "scratch";
  /** Dispatches that name it share it; unique in its node. */
  readonly name: string;
  /** Size for the largest step of the plan. */
  readonly bytes: number;
  /**
   * Kept for this dispatch list alone, zero at first, and left as zero by the kernel that uses it:
   * tickets of "the last workgroup to arrive".
   */
  readonly tickets?: boolean;
  /** Id of the node whose scratch it is, where another node reads what that one left. */
  readonly node?: number;
}

/** Memory that holds f32 rows. */
export type Rows = Value | Scratch;

/** Keys or values of one cache: `[pages, kvHeads, pageSize, headDim]`. */
export interface CacheBuffer {
  /** Tells it from other buffers. */
  readonly kind: "cache";
  /** Name of the graph's cache. */
  readonly cache: string;
  /** Which of its two tensors. */
  readonly part: "keys" | "values";
}

/** The `StepSizes` of this step as a uniform of four u32: T, R, S, P. */
export interface StepBuffer {
  /** Tells it from other buffers. */
  readonly kind: "step";
}

/**
 * A buffer that the runtime keeps from step to step beside the graph: the inputs and results of
 * sampling. `sampling/sample.ts` gives their names and layouts.
 */
export interface StateBuffer {
  /** Tells it from other buffers. */
  readonly kind: "state";
  /** Name of the buffer. */
  readonly name: string;
}

/**
 * Interleaved rows of a weight: the first `parts · columns` units of a row are a matrix, stored
 * transposed (`access/order.ts`).
 */
export interface WordOrder {
  /** Bytes that stay together: 1, or a multiple of 4. */
  readonly unitBytes: number;
  /** Units of a row. */
  readonly units: number;
  /** Rows of the matrix. */
  readonly parts: number;
  /** Columns of the matrix. */
  readonly columns: number;
  /** Whether the bits of every u32, eight codes of FP4, are arranged so that fewer operations read them. */
  readonly arranged?: boolean;
  /** So many rows have what is left of each behind all of them, so that every part begins at a word. */
  readonly rows: number;
}

/** One entry of bind group 0, at the binding number of its place in the list. */
export interface Binding {
  /** What is bound; a value of the node, or memory of another kind. */
  readonly buffer: Value | Scratch | CacheBuffer | StepBuffer | StateBuffer;
  /** `uniform` only for the step buffer. */
  readonly access: "read" | "read_write" | "uniform";
  /** Part of the buffer in bytes; a weight larger than a binding is bound in parts. */
  readonly range?: { readonly offset: number; readonly bytes: number };
  /** The order that a weight's rows are expected in; the checkpoint's when absent. */
  readonly order?: WordOrder;
}

/** One `dispatchWorkgroups` call. */
export interface Dispatch {
  /** Kernel name for reports and timings, such as `moe_up_gemv`. */
  readonly kernel: string;
  /** Complete WGSL with entry point `main`; equal texts share a pipeline. */
  readonly wgsl: string;
  /** Values of `override` constants. */
  readonly constants?: Readonly<Record<string, number>>;
  /** Bind group 0, in the order of the binding numbers. */
  readonly bindings: readonly Binding[];
  /** Workgroups for the sizes of this step; each at most the device's limit, 0 skips. */
  workgroups(sizes: StepSizes): readonly [number, number, number];
  /** Bytes of weights that one run reads from memory, each counted once; for reports. */
  readonly weightBytes?: (sizes: StepSizes) => number;
}

/** Text of a tuned table, and where it was. */
export interface TunedText {
  /** For messages. */
  readonly path: string;
  /** The file's content, JSON. */
  readonly text: string;
}

/** Where tuned tables are: kernels know their names, the host reads them. */
export interface TunedFiles {
  /** A table by its file name, the user's folder first; the same object every time it is asked. */
  read(fileName: string): TunedText | undefined;
}

/** Steps of `min..max` tokens. */
export interface TokenRange {
  readonly min: number;
  readonly max: number;
  /** Every token of such a step is the only one of its sequence: many sequences decode. */
  readonly single?: boolean;
}

/** What a layer that chooses its experts chooses from. */
export interface ExpertChoice {
  /** The router, whose attributes say how; its outputs are written by the layer. */
  readonly router: Node<"moe_router">;
  /** f32 [T, E], of the router. */
  readonly logits: Scratch;
  /** Invocations of the router's workgroups, which fix the order of a sum over all experts. */
  readonly invocations: number;
}

/** What a kernel may ask while it lowers a node. */
export interface LoweringContext {
  readonly profile: DeviceProfile;
  /** Steps of these sizes run this lowering; buffers are sized for the largest. */
  readonly tokens: TokenRange;
  /** Rows with logits, at most. */
  readonly maxRows: number;
  /** Page size of the caches. */
  readonly pageSize: number;
  /** Sequences that a step may have, and tokens that one of them may be long; unknown when absent. */
  readonly maxSequences?: number;
  readonly maxSequenceTokens?: number;
  /** Numbers of the graph's caches by name. */
  readonly cacheDtype: (cache: string) => CacheDtype;
  /**
   * How workgroups combine their partial results: `ticket` lets the last one to arrive do it in the
   * same dispatch (the default), `dispatch` adds a second dispatch. For devices that fail the
   * start-up self-test with tickets: WebGPU promises atomics between workgroups, and no more.
   */
  readonly handOff?: "ticket" | "dispatch";
  /** What products of dense layers may keep operands in for many rows; f32 when absent. */
  readonly operands?: MoeOperands;
  /** The node's weights are beyond what f16 holds: its operands stay f32, whatever was asked for. */
  readonly keepsF32?: boolean;
  /** Measured sizes of kernels, where there are any. */
  readonly tuned?: TunedFiles;
  /** Of a router whose layer chooses experts by itself, and of that layer. */
  readonly choice?: ExpertChoice;
  /**
   * Says in the plan's report what was chosen and why; a `notice` is also told to whoever deploys,
   * once for all layers and sizes of steps.
   */
  note(text: string, kind?: "notice"): void;
}

/** A WebGPU implementation of an op. */
export interface KernelDefinition<Op extends OpName = OpName> {
  readonly name: string;
  readonly op: Op;
  readonly summary: string;
  /** Why this kernel cannot serve the node, or undefined when it can. */
  refuse(node: Node<Op>, context: LoweringContext): string | undefined;
  lower(node: Node<Op>, context: LoweringContext): readonly Dispatch[];
  /** The table of measured sizes that lowering reads, or why there is nothing to measure. */
  tunable?(node: Node<Op>, context: LoweringContext): TunableSizes | string;
}

/** Sizes of a kernel that a tuner may search. */
export interface TunableSizes {
  /** Name of the table. */
  readonly file: string;
  /** Rows that the device can run: what the heuristic takes, and what is like it. */
  readonly rows: readonly object[];
}

/** Makes a registry entry; exists so that `Op` is inferred. */
export function defineKernel<Op extends OpName>(
  definition: KernelDefinition<Op>,
): KernelDefinition<Op> {
  return definition;
}

/** Workgroups of a 1-D grid folded into two dimensions; kernels compute `x + y * gridX`. */
export function foldGrid(count: number, limit: number): readonly [number, number, number] {
  if (count <= limit) return [count, 1, 1];
  const x = Math.min(limit, Math.ceil(Math.sqrt(count)));
  return [x, Math.ceil(count / x), 1];
}
