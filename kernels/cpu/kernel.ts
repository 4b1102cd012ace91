/**
 * What a CPU kernel is: a synchronous pure function from host tensors to host tensors. The CPU
 * kernels are the oracle that every WebGPU kernel and every rewrite of a graph is compared with, so
 * they are written for exactness first: sums run in f64 and are rounded once to f32.
 *
 * @module
 */

import type { AttrsOf, Bindings, HostTensor, OpName } from "../../graph/mod.ts";

/** Inputs of a node as tensors, by the names of the op table. */
export interface CpuInputs {
  /** A single input that the op table requires. */
  get(name: string): HostTensor;
  /** An optional input. */
  maybe(name: string): HostTensor | undefined;
  /** A list input; empty when absent. */
  list(name: string): readonly HostTensor[];
}

/** Keys and values of one attention layer, each `[pages, kvHeads, pageSize, headDim]`. */
export interface CpuCache {
  readonly keys: HostTensor;
  readonly values: HostTensor;
}

/** Everything one run of a kernel sees. It must not write to its inputs; it writes to caches. */
export interface CpuCall<Op extends OpName> {
  readonly attrs: AttrsOf<Op>;
  readonly inputs: CpuInputs;
  /** Sizes of the symbols known so far. */
  readonly bindings: Bindings;
  /** The cache of that name. */
  cache(name: string): CpuCache;
}

/** Runs an op; the results are in the order of the op table. */
export type CpuKernel<Op extends OpName> = (call: CpuCall<Op>) => readonly HostTensor[];

/** A kernel for every op of the table: one that is missing is a compile error. */
export type CpuKernels<Ops extends OpName = OpName> = { readonly [Op in Ops]: CpuKernel<Op> };

/** A group of kernels; exists so that each gets the types of its op. */
export function cpuKernels<Ops extends OpName>(kernels: CpuKernels<Ops>): CpuKernels<Ops> {
  return kernels;
}
