/**
 * Runs the nodes of a graph one after the other, keeping a tensor only until its last reader.
 *
 * @module
 */

import {
  type Bindings,
  describeNode,
  DeviceError,
  type Graph,
  type HostTensor,
  input,
  inputList,
  invariant,
  isOp,
  KernelError,
  messageOf,
  MixlineError,
  type Node,
  nodeInputs,
  optionalInput,
  type Value,
} from "../../graph/mod.ts";
import { type CpuCache, type CpuInputs, runCpuKernel } from "../../kernels/mod.ts";
import { yieldToEventLoop } from "../event_loop.ts";
import { runInSlices } from "./row_slices.ts";

/** Milliseconds of work after which timers and signals are served. */
const WORK_MS = 30;

/** Weights and caches, which stay between runs. */
export interface GraphMemory {
  readonly weights: ReadonlyMap<number, HostTensor>;
  readonly caches: ReadonlyMap<string, CpuCache>;
}

/** Runs one graph. */
export class Interpreter {
  /** Ids of the values that are not read after node i. */
  readonly #lastUses: readonly (readonly number[])[];

  constructor(readonly graph: Graph, readonly memory: GraphMemory) {
    this.#lastUses = lastUses(graph);
  }

  /**
   * Runs every node and returns the graph's outputs by name. `checkpoint` is called before each
   * node and within long ones, and may throw to stop.
   */
  async run(
    inputs: ReadonlyMap<number, HostTensor>,
    bindings: Bindings,
    checkpoint: () => void,
  ): Promise<Map<string, HostTensor>> {
    const values = new Map(inputs);
    const sizes = { ...bindings };
    let yieldedAt = performance.now();
    const pause = async () => {
      if (performance.now() - yieldedAt > WORK_MS) {
        await yieldToEventLoop();
        yieldedAt = performance.now();
      }
      checkpoint();
    };
    for (const [i, node] of this.graph.nodes.entries()) {
      await pause();
      const results = await runInSlices(
        node,
        (value) => this.#tensor(value, values),
        sizes,
        (tensor, bindings) => this.#runNode(node, tensor, bindings),
        pause,
      );
      for (const [j, value] of node.outputs.entries()) {
        bindSymbols(node, value, results[j], sizes);
        values.set(value.id, results[j]);
      }
      for (const id of this.#lastUses[i]) values.delete(id);
    }
    const outputs = [...this.graph.outputs];
    return new Map(outputs.map(([name, value]) => [name, this.#tensor(value, values)]));
  }

  #runNode(
    node: Node,
    tensor: (value: Value) => HostTensor,
    bindings: Bindings,
  ): readonly HostTensor[] {
    const inputs: CpuInputs = {
      get: (name) => tensor(input(node, name)),
      maybe(name) {
        const value = optionalInput(node, name);
        return value && tensor(value);
      },
      list: (name) => inputList(node, name).map(tensor),
    };
    const cache = (name: string) => {
      const found = this.memory.caches.get(name);
      invariant(found, `graph "${this.graph.name}" has no cache "${name}"`);
      return found;
    };
    try {
      return runCpuKernel(node.op, { attrs: node.attrs, inputs, bindings, cache });
    } catch (error) {
      throw located(error, node);
    }
  }

  #tensor(value: Value, values: ReadonlyMap<number, HostTensor>): HostTensor {
    const tensor = values.get(value.id) ?? this.memory.weights.get(value.id);
    invariant(tensor, `value "${value.name}" was read before it was made or after it was freed`);
    return tensor;
  }
}

/**
 * Sets the sizes of the symbols that a node makes, such as the number of tokens an expert got, and
 * checks the others.
 */
function bindSymbols(
  node: Node,
  value: Value,
  tensor: HostTensor | undefined,
  sizes: Record<string, number>,
): void {
  const own = isOp(node, "where") ? node.attrs.symbol : undefined;
  const fits = tensor?.dtype === value.dtype && tensor.shape.length === value.shape.length &&
    value.shape.every((dim, i) => {
      if (typeof dim === "number") return dim === tensor.shape[i];
      if (dim === own || sizes[dim] === undefined) sizes[dim] = tensor.shape[i];
      return sizes[dim] === tensor.shape[i];
    });
  invariant(
    fits,
    `${
      describeNode(node)
    } made ${tensor?.dtype}[${tensor?.shape}] for ${value.dtype}[${value.shape}]`,
  );
}

/** For each node, the ids of the values that are not read after it, its own results included. */
export function lastUses(graph: Graph): number[][] {
  const kept = new Set([...graph.outputs.values()].map((value) => value.id));
  const seen = new Set<number>();
  const result: number[][] = graph.nodes.map(() => []);
  for (const [i, node] of [...graph.nodes.entries()].reverse()) {
    for (const value of [...node.outputs, ...nodeInputs(node)]) {
      if (value.kind === "weight" || kept.has(value.id) || seen.has(value.id)) continue;
      seen.add(value.id);
      result[i].push(value.id);
    }
  }
  return result;
}

/** An error of a kernel with the node it came from. */
function located(error: unknown, node: Node): MixlineError {
  const place = describeNode(node);
  if (error instanceof MixlineError) return error.within(place);
  if (error instanceof RangeError) {
    // What V8 throws for a typed array that it cannot allocate.
    return new DeviceError(
      "device/out-of-memory",
      `Cannot run ${place}: expected memory for its result, got "${messageOf(error)}"`,
      { hint: "Run smaller steps: lower max_num_tokens", cause: error },
    ).within(place);
  }
  return new KernelError("kernel/failed", `Cannot run ${place}: ${messageOf(error)}`, {
    cause: error,
  }).within(place);
}
