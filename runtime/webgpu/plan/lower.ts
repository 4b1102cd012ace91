/**
 * From a graph to a flat list of dispatches over named memory. Pure functions: no device is needed.
 *
 * @module
 */

import {
  type Bindings,
  bindShape,
  DTYPE_BYTES,
  elementCount,
  type GraphSnapshot,
  input,
  invariant,
  KernelError,
  type Node,
  opDefinition,
  type OpName,
  type Value,
} from "../../../graph/mod.ts";
import {
  type Binding,
  type DeviceProfile,
  type Dispatch,
  expertChoices,
  isSameOrder,
  type KernelDefinition,
  lowerDrawDetails,
  type LoweringContext,
  lowerSampling,
  type SamplingProblem,
  type StepSizes,
  type TokenRange,
  type WordOrder,
} from "../../../kernels/mod.ts";
import type { F32Reasons } from "./half_range.ts";
import { orderByLevel } from "./levels.ts";
import { missingKernelHint } from "./missing_kernel.ts";

/** What memory a binding means. */
export type ResourceKind =
  | "input"
  | "weight"
  | "activation"
  | "scratch"
  | "tickets"
  | "cache"
  | "step"
  | "state";

/** Memory that dispatches with the same key share. */
export interface Resource {
  readonly kind: ResourceKind;
  /** The same for every binding of the same memory. */
  readonly key: string;
  /** Its name in messages. */
  readonly name: string;
  /** Bytes for the largest step; 0 for caches and states, whose size the executor knows. */
  readonly bytes: number;
  readonly value?: Value;
}

/** A dispatch with its memory resolved. */
export interface LoweredDispatch {
  readonly dispatch: Dispatch;
  readonly resources: readonly Resource[];
  /** Module path of the node that it belongs to. */
  readonly scope: string;
  /** Op of that node, or `sample`. */
  readonly op: OpName | "sample";
  /** Dispatches of its list that it waits for, one after the other; those of a level do not wait for each other. */
  readonly level: number;
}

/** A dispatch whose place in the list is open. */
type UnorderedDispatch = Omit<LoweredDispatch, "level">;

/** Whether a dispatch has workgroups in a step of these sizes; the others are left out. */
export function hasWork(dispatch: Pick<Dispatch, "workgroups">, sizes: StepSizes): boolean {
  return dispatch.workgroups(sizes).every((count) => count > 0);
}

/** The parts of a graph that lowering reads; a {@linkcode Graph} is one. */
export type GraphParts = Pick<GraphSnapshot, "nodes" | "outputs" | "caches">;

/** A choice that a kernel reported while it lowered a node. */
export interface LoweringNote {
  readonly scope: string;
  readonly op: string;
  readonly text: string;
  /** It is shown when a model is deployed, not only in the report. */
  readonly isNotice?: boolean;
}

/** A graph for steps of a range of sizes. */
export interface LoweredGraph {
  readonly tokens: TokenRange;
  /** Sizes of the symbols in the largest step of this range. */
  readonly sizes: StepSizes;
  /** By level. */
  readonly dispatches: readonly LoweredDispatch[];
  /** Draws a token for every row of logits; empty for graphs that are not language models. */
  readonly sampling: readonly LoweredDispatch[];
  /** Run before and after it in steps with draws that need them. */
  readonly details?: { readonly before: LoweredDispatch; readonly after: LoweredDispatch };
  readonly outputs: ReadonlyMap<string, Resource>;
  readonly notes: readonly LoweringNote[];
  /** Why nodes keep f32 operands whatever was asked for. */
  readonly keepsF32?: F32Reasons;
}

/** What lowering needs to know. */
export interface LoweringOptions {
  readonly kernels: readonly KernelDefinition[];
  readonly profile: DeviceProfile;
  readonly tokens: TokenRange;
  /** Sizes of the symbols in the largest step of this range. */
  readonly sizes: StepSizes;
  /** How workgroups combine partial results; default `ticket`. */
  readonly handOff?: LoweringContext["handOff"];
  /** What products of dense layers may keep operands in for many rows; f32 when absent. */
  readonly operands?: LoweringContext["operands"];
  /** Why nodes keep f32 operands whatever was asked for. */
  readonly keepsF32?: F32Reasons;
  /** Measured configurations; without them kernels use their heuristics. */
  readonly tuned?: LoweringContext["tuned"];
  /** What sampling reads and writes, in a language model. */
  readonly sampling?: SamplingProblem & { readonly maxRows: number };
}

/** Chooses a kernel for every node and lists their dispatches in order. */
export function lowerGraph(graph: GraphParts, options: LoweringOptions): LoweredGraph {
  const { profile, tokens, sizes, handOff = "ticket", sampling, kernels } = options;
  const roots = aliasRoots(graph, tokens.max);
  const notes: LoweringNote[] = [];
  const dispatches: UnorderedDispatch[] = [];
  const contextOf = contextsFor(graph, options, notes);
  const choices = expertChoices({ nodes: graph.nodes, kernels, contextOf });
  for (const node of graph.nodes) {
    if (isView(node, tokens.max)) continue;
    const reason = options.keepsF32?.get(node.id);
    const choice = choices.get(node.id);
    const context = { ...contextOf(node), ...(choice && { choice }) };
    if (reason !== undefined) context.note(`keeps f32 operands: ${reason}`);
    const owner: DispatchOwner = { id: String(node.id), scope: node.scope, op: node.op };
    for (const dispatch of lowerNode(node, kernels, context)) {
      dispatches.push(lowerDispatch(dispatch, owner, roots, sizes, profile));
    }
  }
  const draws = sampling
    ? lowerSampling(sampling, { profile, maxRows: sampling.maxRows, handOff })
    : [];
  const around = sampling && lowerDrawDetails(sampling);
  const ofSampling = (dispatch: Dispatch) =>
    lowerDispatch(dispatch, SAMPLING, roots, sizes, profile);
  const outputs = [...graph.outputs].map(([name, value]) =>
    [name, valueResource(value, roots, sizes)] as const
  );
  return {
    tokens,
    sizes,
    dispatches: orderByLevel(dispatches),
    sampling: orderByLevel(draws.map(ofSampling)),
    ...(around && {
      details: {
        before: { ...ofSampling(around.before), level: 0 },
        after: { ...ofSampling(around.after), level: 0 },
      },
    }),
    outputs: new Map(outputs),
    notes,
    ...(options.keepsF32 && { keepsF32: options.keepsF32 }),
  };
}

/** How each node of a graph is lowered; what kernels note goes into the list. */
function contextsFor(
  { caches }: GraphParts,
  { profile, tokens, sizes, handOff = "ticket", tuned, operands, keepsF32 }: LoweringOptions,
  notes: LoweringNote[],
): (node: Node) => LoweringContext {
  const byName = new Map(caches.map((cache) => [cache.name, cache]));
  const pageSize = caches[0]?.pageSize ?? 16;
  return ({ id, scope, op }) => ({
    profile,
    tokens,
    maxRows: sizes.R,
    pageSize,
    maxSequences: sizes.S,
    maxSequenceTokens: sizes.P * pageSize,
    handOff,
    ...(tuned && { tuned }),
    ...(keepsF32?.has(id) ? { keepsF32: true } : operands && { operands }),
    cacheDtype: (name) => byName.get(name)?.dtype ?? "f32",
    note: (text, kind) => notes.push({ scope, op, text, isNotice: kind === "notice" }),
  });
}

/** What a dispatch belongs to. */
interface DispatchOwner {
  /** Makes the keys of scratch memory unique, whose names may be equal. */
  readonly id: string;
  readonly scope: string;
  readonly op: LoweredDispatch["op"];
}

const SAMPLING: DispatchOwner = { id: "sample", scope: "", op: "sample" };

function lowerDispatch(
  dispatch: Dispatch,
  owner: DispatchOwner,
  roots: ReadonlyMap<number, Value>,
  sizes: StepSizes,
  profile: DeviceProfile,
): UnorderedDispatch {
  const resources = dispatch.bindings.map((binding) => resourceOf(binding, owner, roots, sizes));
  checkBindings(dispatch, resources, owner, profile);
  return { dispatch, resources, scope: owner.scope, op: owner.op };
}

/** The dispatches of one node by the first kernel that takes it. */
export function lowerNode(
  node: Node,
  kernels: readonly KernelDefinition[],
  context: LoweringContext,
): readonly Dispatch[] {
  const refusals: string[] = [];
  for (const kernel of kernels) {
    if (kernel.op !== node.op) continue;
    const reason = kernel.refuse(node, context);
    if (reason === undefined) return kernel.lower(node, context);
    refusals.push(`${kernel.name}: ${reason}`);
  }
  const name = node.scope || node.outputs[0]?.name;
  throw new KernelError(
    refusals.length === 0 ? "kernel/missing" : "kernel/refused",
    `Cannot run op "${node.op}" of "${name}" on WebGPU: ${
      refusals.length === 0
        ? "expected a kernel, got none"
        : `expected a kernel that takes it, got ${refusals.length} refusals: ${refusals.join("; ")}`
    }`,
    { hint: missingKernelHint(node), details: { op: node.op, scope: node.scope, refusals } },
  );
}

/** Nodes whose result is the memory of their input. Of a single row, the wanted row is that row. */
function isView(node: Node, maxTokens: number): boolean {
  return opDefinition(node.op).view === true || (node.op === "gather_rows" && maxTokens === 1);
}

/** The value whose memory each view is. */
function aliasRoots(graph: GraphParts, maxTokens: number): ReadonlyMap<number, Value> {
  const roots = new Map<number, Value>();
  for (const node of graph.nodes) {
    if (!isView(node, maxTokens)) continue;
    const source = input(node, "x");
    roots.set(node.outputs[0].id, roots.get(source.id) ?? source);
  }
  return roots;
}

function resourceOf(
  binding: Binding,
  owner: DispatchOwner,
  roots: ReadonlyMap<number, Value>,
  sizes: StepSizes,
): Resource {
  const { buffer } = binding;
  switch (buffer.kind) {
    case "scratch":
      return {
        kind: buffer.tickets ? "tickets" : "scratch",
        key: `scratch ${buffer.node ?? owner.id} ${buffer.name}`,
        name: `${buffer.name} of ${owner.scope || owner.op}`,
        bytes: buffer.bytes,
      };
    case "cache":
      return {
        kind: "cache",
        key: `cache ${buffer.cache} ${buffer.part}`,
        name: `${buffer.part} of cache ${buffer.cache}`,
        bytes: 0,
      };
    case "step":
      return { kind: "step", key: "step", name: "step sizes", bytes: 16 };
    case "state":
      return { kind: "state", key: `state ${buffer.name}`, name: buffer.name, bytes: 0 };
    default:
      return valueResource(buffer, roots, sizes);
  }
}

function valueResource(
  value: Value,
  roots: ReadonlyMap<number, Value>,
  sizes: StepSizes,
): Resource {
  const root = roots.get(value.id) ?? value;
  const kind = root.kind === "node" ? "activation" : root.kind;
  return {
    kind,
    key: `${kind} ${root.id}`,
    name: root.name,
    bytes: valueBytes(root, sizes),
    value: root,
  };
}

/** Bytes of a value when the symbols have these sizes. */
export function valueBytes(value: Value, sizes: StepSizes): number {
  const bindings: Bindings = { ...sizes };
  const unknown = value.shape.find((dim) => typeof dim === "string" && bindings[dim] === undefined);
  if (unknown !== undefined) {
    throw new KernelError(
      "kernel/data-dependent",
      `Cannot plan value "${value.name}" on WebGPU: expected sizes known before the step, got symbol "${unknown}"`,
      {
        hint:
          "Enable match_moe_pattern and fuse_moe, which replace the loop over experts, or use --executor cpu",
        details: { value: value.name, symbol: unknown },
      },
    );
  }
  return elementCount(bindShape(value.shape, bindings)) * DTYPE_BYTES[value.dtype];
}

function checkBindings(
  dispatch: Dispatch,
  resources: readonly Resource[],
  owner: DispatchOwner,
  profile: DeviceProfile,
): void {
  const storage = dispatch.bindings.filter((binding) => binding.access !== "uniform").length;
  invariant(
    dispatch.bindings.every((binding) => binding.buffer.kind !== "step") ||
      dispatch.bindings.filter((binding) => binding.access === "uniform").length <= 1,
    `kernel ${dispatch.kernel} binds the step twice`,
  );
  if (storage > profile.maxStorageBuffers) {
    throw new KernelError(
      "kernel/too-many-buffers",
      `Cannot run kernel "${dispatch.kernel}" for "${owner.scope}": expected at most ${profile.maxStorageBuffers} storage buffers, got ${storage}`,
      { hint: "Disable the fusion that made this node, or use --executor cpu" },
    );
  }
  const written = new Set(
    resources.filter((_, i) => dispatch.bindings[i].access === "read_write").map(({ key }) => key),
  );
  for (const [i, resource] of resources.entries()) {
    const { access, range } = dispatch.bindings[i];
    invariant(
      access === "read_write" || !written.has(resource.key),
      `kernel ${dispatch.kernel} reads and writes ${resource.name} in one dispatch`,
    );
    const readOnly = owner.op === "sample" ? ["weight"] : ["weight", "input"];
    invariant(
      access !== "read_write" || !readOnly.includes(resource.kind),
      `kernel ${dispatch.kernel} writes ${resource.kind} ${resource.name}`,
    );
    checkBindingSize(owner, dispatch, resource, range?.bytes ?? resource.bytes, profile);
  }
}

function checkBindingSize(
  owner: DispatchOwner,
  dispatch: Dispatch,
  resource: Resource,
  bytes: number,
  profile: DeviceProfile,
): void {
  if (bytes <= profile.maxBindingBytes) return;
  throw new KernelError(
    "kernel/binding-too-large",
    `Cannot bind ${resource.kind} "${resource.name}" to kernel "${dispatch.kernel}": expected at most ${profile.maxBindingBytes} bytes, got ${bytes}`,
    {
      hint: resource.kind === "weight"
        ? "Quantize the weight, choose another backend for this layer, or use --executor cpu"
        : owner.op === "sample"
        ? "Lower max_batch_size: a step samples a token for each sequence"
        : "Lower max_num_tokens or max_batch_size, whichever is larger: a step has as many tokens",
      details: { resource: resource.name, bytes, limit: profile.maxBindingBytes },
    },
  );
}

/** Weights that a list of dispatches binds, each once. */
export function boundWeights(lowered: readonly LoweredGraph[]): Value[] {
  const found = new Map<number, Value>();
  const add = ({ kind, value }: Resource) => {
    if (kind === "weight" && value) found.set(value.id, value);
  };
  for (const { dispatches, outputs } of lowered) {
    for (const { resources } of dispatches) resources.forEach(add);
    outputs.forEach(add);
  }
  return [...found.values()];
}

/**
 * The orders that the rows of weights are read in, by the ids of their values; others are in the
 * checkpoint's. Raises a {@linkcode KernelError} where readers of a weight disagree.
 */
export function boundOrders(lowered: readonly LoweredGraph[]): ReadonlyMap<number, WordOrder> {
  const readers = new Map<number, { readonly kernel: string; readonly order?: WordOrder }>();
  for (const { dispatch, resources } of lowered.flatMap(({ dispatches }) => dispatches)) {
    for (const [i, { kind, value }] of resources.entries()) {
      if (kind !== "weight" || !value) continue;
      const { order } = dispatch.bindings[i];
      const known = readers.get(value.id);
      if (known && !isSameOrder(known.order, order)) {
        throw new KernelError(
          "kernel/word-order",
          `Cannot load weight "${value.name}": expected one order of its words, got different ones for kernels "${known.kernel}" and "${dispatch.kernel}"`,
          { hint: "Choose one backend for the layer, for steps of all sizes" },
        );
      }
      if (!known) readers.set(value.id, { kernel: dispatch.kernel, ...(order && { order }) });
    }
  }
  const orders = new Map<number, WordOrder>();
  for (const [id, { order }] of readers) if (order) orders.set(id, order);
  return orders;
}
