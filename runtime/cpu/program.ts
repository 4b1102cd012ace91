/**
 * A graph with its weights and caches in host memory.
 *
 * @module
 */

import {
  type Bindings,
  bindShape,
  cacheOf,
  type DrawDetails,
  elementCount,
  type Graph,
  GraphError,
  type HostTensor,
  invariant,
  isOp,
  KernelError,
  type Sampling,
  type Value,
  verifyGraph,
  type WantedCache,
} from "../../graph/mod.ts";
import { adjustLogits, type CpuCache, logprobsOf, sampleToken } from "../../kernels/mod.ts";
import type { CompileOptions, Program, StepRequest, StepResult } from "../executor.ts";
import { disposedProgram } from "../disposed_program.ts";
import { stepUnwanted } from "../scheduling/request_errors.ts";
import { Interpreter } from "./interpreter.ts";
import { checkStep, checkWholeSequence, nextTokens, type StepTokens } from "../step_tokens.ts";
import { allocateCaches, type LoadedWeights, loadWeights } from "./weights.ts";

type HostNumbers = Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

/** A graph ready to run on the CPU. */
export class CpuProgram implements Program {
  readonly #seen = new Map<number, Set<number>>();
  #interpreter: Interpreter | undefined;
  /** Outputs of the step that ran last, without its logits. */
  #recent: Readonly<Record<string, HostNumbers>> = {};

  private constructor(
    readonly graph: Graph,
    readonly options: CompileOptions,
    readonly report: Readonly<Record<string, unknown>>,
    interpreter: Interpreter,
    readonly onDispose: (program: Program) => void,
  ) {
    this.#interpreter = interpreter;
  }

  /** Checks the graph, reads its weights and allocates its caches. */
  static async compile(
    graph: Graph,
    options: CompileOptions,
    onDispose: (program: Program) => void = () => {},
  ): Promise<CpuProgram> {
    verifyGraph(graph);
    checkCaches(graph);
    const caches = allocateCaches(graph, options.pages);
    const weights = await loadWeights(graph, options);
    const interpreter = new Interpreter(graph, { weights: weights.tensors, caches });
    return new CpuProgram(graph, options, report(graph, weights, caches), interpreter, onDispose);
  }

  /** Settings of the graph that the CPU executor ignores. */
  get notices(): readonly string[] {
    const layers = this.graph.nodes.filter((node) => isOp(node, "fused_moe"));
    const halves = layers.filter(({ attrs }) => attrs.operands === "f16");
    const named = layers.map(({ attrs }) => attrs.backend)
      .filter((backend) => !["auto", "reference"].includes(backend));
    const backends = [...new Set(named)].join(", ");
    return [
      ...(halves.length === 0
        ? []
        : [`${halves.length} MoE layers ask for f16 operands: the CPU executor computes in f32`]),
      ...(named.length === 0
        ? []
        : [`${named.length} MoE layers ask for ${backends}: the CPU executor has reference alone`]),
    ];
  }

  run(
    inputs: Readonly<Record<string, HostNumbers>>,
    bindings: Bindings,
  ): Promise<Record<string, HostNumbers>> {
    return this.#run(inputs, bindings, undefined);
  }

  async #run(
    inputs: Readonly<Record<string, HostNumbers>>,
    bindings: Bindings,
    isWanted: StepRequest["isWanted"],
  ): Promise<Record<string, HostNumbers>> {
    const tensors = new Map<number, HostTensor>();
    for (const value of this.graph.inputs) {
      tensors.set(value.id, this.#inputTensor(value, inputs[value.name], bindings));
    }
    const outputs = await this.#open().run(tensors, bindings, () => {
      this.#open();
      if (isWanted?.() === false) throw stepUnwanted();
    });
    const entries = [...outputs].map(([name, tensor]) => [name, hostNumbers(name, tensor)]);
    return Object.fromEntries(entries);
  }

  async step(request: StepRequest): Promise<StepResult> {
    checkStep(request, this.options);
    if (this.graph.caches.length === 0) checkWholeSequence(request);
    await request.meanwhile?.();
    const { want, repeat, isWanted } = request;
    if (want === "logits") return { logits: await this.#logits(request, isWanted) };
    const rounds: Int32Array<ArrayBuffer>[] = [];
    let logprobs: StepResult["logprobs"];
    let tokens: StepTokens = request;
    for (let round = 0; round < repeat; round++) {
      const logits = adjustRows(await this.#logits(tokens, isWanted), want);
      const samples = this.#sample(logits, tokens, want);
      rounds.push(samples);
      tokens = nextTokens(tokens, samples);
      logprobs = want.map((draw, row) =>
        draw.logprobs === undefined
          ? undefined
          : logprobsOf(logits[row], Math.max(0, samples[row]), draw.logprobs)
      );
    }
    return { tokens: rounds, logprobs };
  }

  async outputs(
    request: StepRequest,
    names: readonly string[],
  ): Promise<Record<string, HostNumbers>> {
    checkStep(request, this.options);
    return withNames(await this.#runStep(request, request.isWanted), names);
  }

  recentOutputs(names: readonly string[]): Promise<Record<string, HostNumbers>> {
    return Promise.resolve(withNames(this.#recent, names));
  }

  markSeen(slot: number, tokenIds: Int32Array<ArrayBuffer>): void {
    this.#seen.set(slot, new Set(tokenIds));
  }

  /** Frees the weights; a step under way stops before its next node. */
  dispose(): void {
    this.#interpreter = undefined;
    this.#seen.clear();
    this.onDispose(this);
  }

  /** Logits of the wanted rows, [R, V]. */
  async #logits(
    tokens: StepTokens,
    isWanted: StepRequest["isWanted"],
  ): Promise<Float32Array<ArrayBuffer>> {
    const { tokenIds, logitsRows } = tokens;
    const { logits } = await this.#runStep(tokens, isWanted);
    if (!(logits instanceof Float32Array)) {
      throw new GraphError(
        "graph/missing-output",
        `Cannot run a step of graph "${this.graph.name}": expected an f32 output "logits", got ${
          [...this.graph.outputs.keys()].join(", ") || "none"
        }`,
        { hint: "Run graphs that are not language models by their inputs and outputs" },
      );
    }
    const gathered = this.graph.inputs.some(({ name }) => name === "logits_rows");
    return gathered ? logits : pickRows(logits, tokenIds.length, logitsRows);
  }

  /** All outputs of the graph for the tokens of a step. */
  async #runStep(
    { tokenIds, positions, sequenceIds, blockTable, logitsRows }: StepTokens,
    isWanted: StepRequest["isWanted"],
  ): Promise<Record<string, HostNumbers>> {
    const feeds: Record<string, HostNumbers> = {
      token_ids: tokenIds,
      positions,
      sequence_ids: sequenceIds,
      block_table: blockTable.data,
      logits_rows: logitsRows,
    };
    const { sequences, pages } = blockTable;
    const sizes = { T: tokenIds.length, R: logitsRows.length, S: sequences, P: pages };
    const { logits, ...others } = await this.#run(feeds, sizes, isWanted);
    // Logits may take hundreds of megabytes, and nobody asks for them twice.
    this.#recent = others;
    return { ...others, logits };
  }

  #sample(
    logits: readonly Float32Array[],
    { positions, sequenceIds, logitsRows }: StepTokens,
    want: readonly Sampling[],
  ): Int32Array<ArrayBuffer> {
    return logitsRows.map((row, i) => {
      const slot = sequenceIds[row];
      const seen = this.#seen.get(slot) ?? new Set();
      this.#seen.set(slot, seen);
      const token = drawOrMinusOne(logits[i], want[i], positions[row], seen);
      if (token >= 0) seen.add(token);
      return token;
    });
  }

  #open(): Interpreter {
    if (this.#interpreter) return this.#interpreter;
    throw disposedProgram(this.graph);
  }

  #inputTensor(value: Value, data: HostNumbers | undefined, bindings: Bindings): HostTensor {
    const { name, dtype } = value;
    const fail = (expected: string, got: string): never => {
      throw new GraphError(
        "graph/input-size",
        `Cannot run graph "${this.graph.name}": expected input "${name}" ${expected}, got ${got}`,
      );
    };
    const unbound = value.shape.find((dim) =>
      typeof dim === "string" && bindings[dim] === undefined
    );
    if (unbound !== undefined) fail(`with a size for ${unbound}`, "none");
    const shape = bindShape(value.shape, bindings);
    const count = elementCount(shape);
    const [kind, found] = dtype === "i32"
      ? ["Int32Array", Int32Array]
      : ["Float32Array", Float32Array];
    if (!(data instanceof found) || data.length !== count) {
      const got = data ? `${data.constructor.name} of ${data.length}` : "none";
      return fail(`as ${kind} of ${count} (${dtype}[${shape}])`, got);
    }
    invariant(dtype === "i32" || dtype === "f32", `input "${name}" is ${dtype}`);
    return { dtype, shape, data };
  }
}

/** Outputs of these names; those that there are not are left out. */
function withNames(
  outputs: Readonly<Record<string, HostNumbers>>,
  names: readonly string[],
): Record<string, HostNumbers> {
  const found = names.filter((name) => outputs[name] !== undefined);
  return Object.fromEntries(found.map((name) => [name, outputs[name]]));
}

/** The logits of each row, changed as its draw says. */
function adjustRows(logits: Float32Array<ArrayBuffer>, want: readonly DrawDetails[]) {
  const vocab = logits.length / want.length;
  return want.map((draw, row) =>
    adjustLogits(logits.subarray(row * vocab, (row + 1) * vocab), draw)
  );
}

/** The draw of a row; -1 where its logits are not finite, which affects its sequence alone. */
function drawOrMinusOne(...call: Parameters<typeof sampleToken>): number {
  try {
    return sampleToken(...call);
  } catch (error) {
    if (error instanceof KernelError && error.code === "kernel/logits") return -1;
    throw error;
  }
}

function checkCaches(graph: Graph): void {
  for (const node of graph.nodes) {
    const wanted = cacheOf(node);
    if (!wanted) continue;
    const spec = graph.caches.find(({ name }) => name === wanted.name);
    if (spec && sizesOf(spec) === sizesOf(wanted)) continue;
    throw new GraphError(
      "graph/missing-cache",
      `Cannot run graph "${graph.name}": expected cache "${wanted.name}" with ${
        sizesOf(wanted)
      }, got ${spec ? sizesOf(spec) : "none"}`,
      { hint: "Run initialize_cache after insert_cached_attention" },
    );
  }
}

function pickRows(
  values: Float32Array<ArrayBuffer>,
  rows: number,
  wanted: Int32Array,
): Float32Array<ArrayBuffer> {
  const width = values.length / rows;
  const result = new Float32Array(wanted.length * width);
  wanted.forEach((row, i) =>
    result.set(values.subarray(row * width, (row + 1) * width), i * width)
  );
  return result;
}

function hostNumbers(name: string, { dtype, data }: HostTensor): HostNumbers {
  if (data instanceof Float32Array || data instanceof Int32Array) return data;
  throw new GraphError(
    "graph/output-type",
    `Cannot return output "${name}": expected f32 or i32, got ${dtype}`,
    { hint: "Add a cast to f32 in front of the output" },
  );
}

function report(
  graph: Graph,
  weights: LoadedWeights,
  caches: ReadonlyMap<string, CpuCache>,
): Readonly<Record<string, unknown>> {
  const ops: Record<string, number> = {};
  for (const { op } of graph.nodes) ops[op] = (ops[op] ?? 0) + 1;
  const cacheBytes = [...caches.values()].reduce(
    (sum, { keys, values }) => sum + keys.data.byteLength + values.data.byteLength,
    0,
  );
  return {
    bytes: { weights: weights.bytes, caches: cacheBytes, total: weights.bytes + cacheBytes },
    buffers: { weights: weights.count },
    nodes: graph.nodes.length,
    ops,
  };
}

/** How an error names the sizes of a cache. */
function sizesOf({ kvHeads, headDim, valueDim = headDim }: WantedCache): string {
  return `${kvHeads} heads of ${headDim}${valueDim === headDim ? "" : ` and ${valueDim}`}`;
}
