/**
 * One op on the GPU and on the CPU, with the same inputs.
 *
 * @module
 */

import {
  type AttrsOf,
  bindShape,
  DTYPE_BYTES,
  elementCount,
  f32ToBf16,
  Graph,
  type HostArray,
  type HostTensor,
  inferTypes,
  invariant,
  type Node,
  type OpName,
  type Shape,
  tensor,
  type Value,
  viewBytes,
} from "../../graph/mod.ts";
import type {
  Dispatch,
  KernelDefinition,
  LoweringContext,
  StepSizes,
} from "../../kernels/kernel.ts";
import type { CpuCache } from "../../kernels/cpu/kernel.ts";
import { runCpuKernel } from "../../kernels/cpu/registry.ts";
import { KERNELS } from "../../kernels/registry.ts";
import type { DispatchRunner } from "./run_dispatches.ts";

/** An input of an op: an activation of the step, or a weight. */
export interface OpInput {
  readonly dtype: HostTensor["dtype"];
  readonly shape: Shape;
  readonly data: HostArray;
  readonly weight?: boolean;
}

/** An op with everything it needs. */
export interface OpCase<Op extends OpName> {
  readonly op: Op;
  readonly attrs: AttrsOf<Op>;
  readonly inputs: Readonly<Record<string, OpInput | readonly OpInput[] | undefined>>;
  readonly sizes: Partial<StepSizes>;
  /** Lowering context, where it matters; tokens default to those of the step. */
  readonly context?: Partial<LoweringContext>;
  readonly caches?: Readonly<Record<string, CpuCache>>;
  /** Takes this kernel; the first in the registry that does not refuse otherwise. */
  readonly kernel?: KernelDefinition;
  /** Lowers the node in another way than by a kernel definition. */
  readonly lower?: (node: Node<Op>, context: LoweringContext) => readonly Dispatch[];
}

/** Results of both, in the order of the op's outputs. */
export interface OpResult {
  readonly got: readonly HostTensor[];
  readonly expected: readonly HostTensor[];
  readonly dispatches: readonly Dispatch[];
  readonly notes: readonly string[];
}

/** A stream of numbers in [-1, 1) that is the same in every run. */
export function randomNumbers(seed: number): () => number {
  let state = Math.imul(seed, 2654435761) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const mixed = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) >>> 0;
    return ((mixed ^ (mixed >>> 12)) >>> 8) / 2 ** 23 - 1;
  };
}

/** f32 numbers of a shape, scaled. */
export function randomF32(count: number, seed: number, scale = 1): Float32Array<ArrayBuffer> {
  const next = randomNumbers(seed);
  return Float32Array.from({ length: count }, () => next() * scale);
}

/** An activation of f32 numbers. */
export function activation(
  shape: Shape,
  sizes: Partial<StepSizes>,
  seed: number,
  scale = 1,
): OpInput {
  const count = elementCount(bindShape(shape, { ...sizes }));
  return { dtype: "f32", shape, data: randomF32(count, seed, scale) };
}

/** A weight of random numbers in a plain format. */
export function randomWeight(
  dtype: "f32" | "f16" | "bf16",
  shape: readonly number[],
  seed: number,
  scale = 1,
): OpInput {
  const numbers = randomF32(elementCount(shape), seed, scale);
  return { dtype, shape, data: encode(dtype, numbers), weight: true };
}

function encode(dtype: "f32" | "f16" | "bf16", numbers: Float32Array<ArrayBuffer>): HostArray {
  if (dtype === "f32") return numbers;
  if (dtype === "f16") return Float16Array.from(numbers);
  return Uint16Array.from(numbers, f32ToBf16);
}

/** An input of i32 numbers. */
export function integerInput(shape: Shape, data: readonly number[]): OpInput {
  return { dtype: "i32", shape, data: Int32Array.from(data) };
}

/** The node of a case, with its input values by data. */
export function buildNode<Op extends OpName>(
  { op, attrs, inputs }: Pick<OpCase<Op>, "op" | "attrs" | "inputs">,
): { node: Node<Op>; values: ReadonlyMap<Value, HostArray> } {
  const graph = new Graph("case");
  const values = new Map<Value, HostArray>();
  const make = (name: string, each: OpInput): Value => {
    const value = each.weight
      ? graph.createWeight(name, tensor(name, each.dtype, bindShape(each.shape, {})))
      : graph.addInput(name, { dtype: each.dtype, shape: each.shape });
    values.set(value, each.data);
    return value;
  };
  const given: Record<string, Value | Value[]> = {};
  for (const [name, each] of Object.entries(inputs)) {
    if (each === undefined) continue;
    given[name] = isList(each) ? each.map((one, i) => make(`${name}${i}`, one)) : make(name, each);
  }
  const types = inferTypes(op, given, attrs);
  return { node: graph.addNode({ op, inputs: given, attrs, types, scope: "case" }), values };
}

/** Runs a case on the GPU and on the CPU. */
export async function runOp<Op extends OpName>(
  runner: DispatchRunner,
  given: OpCase<Op>,
): Promise<OpResult> {
  const sizes: StepSizes = { T: 1, R: 1, S: 1, P: 1, ...given.sizes };
  const { node, values } = buildNode(given);
  const notes: string[] = [];
  const context: LoweringContext = {
    profile: runner.profile,
    tokens: { min: sizes.T, max: sizes.T },
    maxRows: sizes.R,
    pageSize: 16,
    cacheDtype: () => "f32",
    note: (text) => notes.push(text),
    ...given.context,
  };
  const dispatches = lowerCase(given, node, context);
  runner.clear();
  for (const [value, data] of values) runner.write(value, data);
  for (const [cache, { keys, values: rows }] of Object.entries(given.caches ?? {})) {
    runner.write({ kind: "cache", cache, part: "keys" }, keys.data);
    runner.write({ kind: "cache", cache, part: "values" }, rows.data);
  }
  await runner.run(dispatches, sizes);
  const got: HostTensor[] = [];
  for (const { dtype, shape: symbolic, ...value } of node.outputs) {
    const shape = bindShape(symbolic, { ...sizes });
    const bytes = elementCount(shape) * DTYPE_BYTES[dtype];
    const raw = await runner.readBytes({ ...value, dtype, shape: symbolic }, bytes);
    got.push({ dtype, shape, data: viewBytes(dtype, new Uint8Array(raw)) });
  }
  return { got, expected: runOnCpu(given, sizes), dispatches, notes };
}

function lowerCase<Op extends OpName>(
  given: OpCase<Op>,
  node: Node<Op>,
  context: LoweringContext,
): readonly Dispatch[] {
  if (given.lower) return given.lower(node, context);
  const kernels = given.kernel ? [given.kernel] : KERNELS.filter(({ op }) => op === node.op);
  const kernel = kernels.find((each) => each.refuse(node as Node, context) === undefined);
  invariant(
    kernel,
    `no kernel for ${node.op}: ${kernels.map((each) => each.refuse(node as Node, context))}`,
  );
  return kernel.lower(node as Node, context);
}

/** The CPU's results of a case; caches are changed in place. */
export function runOnCpu<Op extends OpName>(
  { op, attrs, inputs, caches }: OpCase<Op>,
  sizes: StepSizes,
): readonly HostTensor[] {
  const host = ({ dtype, shape, data }: OpInput): HostTensor => ({
    dtype,
    shape: bindShape(shape, { ...sizes }),
    data,
  });
  const one = (name: string): HostTensor | undefined => {
    const found = inputs[name];
    return found === undefined || isList(found) ? undefined : host(found);
  };
  return runCpuKernel(op, {
    attrs,
    bindings: { ...sizes },
    inputs: {
      get(name) {
        const found = one(name);
        invariant(found, `no input ${name}`);
        return found;
      },
      maybe: one,
      list(name) {
        const found = inputs[name];
        return found === undefined ? [] : isList(found) ? found.map(host) : [host(found)];
      },
    },
    cache(name) {
      const found = caches?.[name];
      invariant(found, `no cache ${name}`);
      return found;
    },
  });
}

function isList(given: OpInput | readonly OpInput[]): given is readonly OpInput[] {
  return Array.isArray(given);
}

/** Largest |got - expected| relative to the larger of 1 and the largest |expected|. */
export function worstDifference(got: HostTensor, expected: HostTensor): number {
  invariant(
    String(got.shape) === String(expected.shape) && got.data.length === expected.data.length,
    `shapes differ: [${got.shape}] and [${expected.shape}]`,
  );
  let [worst, largest] = [0, 1];
  for (let i = 0; i < got.data.length; i++) {
    const [a, b] = [Number(got.data[i]), Number(expected.data[i])];
    if (Number.isFinite(b)) largest = Math.max(largest, Math.abs(b));
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    const difference = Math.abs(a - b);
    worst = Number.isNaN(difference) ? Infinity : Math.max(worst, difference);
  }
  return worst / largest;
}
