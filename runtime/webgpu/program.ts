/**
 * A graph on the device: its weights, caches and buffers, and a prepared list of dispatches for
 * each range of step sizes.
 *
 * @module
 */

import {
  type Bindings,
  type Graph,
  GraphError,
  invariant,
  type Value,
  viewBytes,
} from "../../graph/mod.ts";
import type { StepSizes } from "../../kernels/mod.ts";
import { configuredOperands } from "../compile_fields.ts";
import { checkStep } from "../step_tokens.ts";
import { disposedProgram } from "../disposed_program.ts";
import type {
  CompileOptions,
  DispatchTiming,
  Program,
  StepRequest,
  StepResult,
} from "../executor.ts";
import { encodeCommands } from "./device/command_list.ts";
import { timeCommands } from "./measure/dispatch_timer.ts";
import {
  type CompiledGraph,
  compiledGraph,
  notALanguageModel,
  WANTED_LOGITS,
} from "./plan/language_model.ts";
import {
  boundOrders,
  boundWeights,
  type LoweredGraph,
  lowerGraph,
  type LoweringOptions,
  valueBytes,
} from "./plan/lower.ts";
import { ProgramMemory } from "./memory.ts";
import { describeReasons, type F32Reasons } from "./plan/half_range.ts";
import { reportNotices } from "./plan/plan_report.ts";
import { largestSizes, rangesOf, requestSizes, stepSizes } from "./plan/step_sizes.ts";
import type { ProgramContext } from "./program_context.ts";
import { StepInputs } from "./step_inputs.ts";
import { loadAndPrepare } from "./load_and_prepare.ts";
import { type StepList, StepLists } from "./step_lists.ts";
import { historyBytes, samplingStates, TokenSteps } from "./token_steps.ts";
import { DeviceWeights } from "./weights.ts";

type HostNumbers = Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

/** A graph ready to run on a WebGPU device. */
export class WebGpuProgram implements Program {
  readonly #inputs: StepInputs;
  readonly #tokens: TokenSteps | undefined;
  #last: Promise<unknown> = Promise.resolve();
  /** Pieces of work that run or wait for others. */
  #unfinished = 0;
  #disposed = false;
  /** What ran last: its outputs are in their buffers until something else runs. */
  #recent: { readonly list: StepList; readonly sizes: StepSizes } | undefined;

  private constructor(
    readonly context: ProgramContext,
    readonly graph: Graph,
    readonly options: CompileOptions,
    readonly memory: ProgramMemory,
    readonly lists: StepLists,
    inputs: StepInputs,
    tokens: TokenSteps | undefined,
  ) {
    this.#inputs = inputs;
    this.#tokens = tokens;
  }

  /** Lowers the graph for every range of step sizes, loads its weights and makes it ready. */
  static async compile(
    context: ProgramContext,
    graph: Graph,
    options: CompileOptions,
  ): Promise<WebGpuProgram> {
    const { device, readback } = context;
    const compiled = compiledGraph(graph);
    const operands = configuredOperands(graph);
    const ranges = rangesOf(graph, compiled.language !== undefined, options, device.profile);
    const lower = (keepsF32?: F32Reasons) =>
      ranges.map((tokens) =>
        lowerRange(compiled, { tokens, operands, ...(keepsF32 && { keepsF32 }) }, context, options)
      );
    const lowered = lower();
    const rows = options.maxSequences;
    const sampling = compiled.language && { ...compiled.language, slots: rows, maxRows: rows };
    const weights = await DeviceWeights.allocate(
      boundWeights(lowered),
      context,
      boundOrders(lowered),
    );
    const memory = await ProgramMemory.create(device, compiled, lowered, weights, {
      pages: options.pages,
      states: sampling ? samplingStates(sampling) : {},
    });
    try {
      const first = new StepLists(context, lowered, memory);
      const nodes = { nodes: compiled.nodes, operands, profile: device.profile };
      const lists = await loadAndPrepare(first, nodes, lower, options);
      const inputs = new StepInputs(compiled.inputs, memory);
      const tokens = sampling && new TokenSteps(
        device,
        readback,
        memory,
        inputs,
        sampling,
        await memory.ownStaging(historyBytes(sampling)),
      );
      return new WebGpuProgram(context, graph, options, memory, lists, inputs, tokens);
    } catch (error) {
      memory.dispose();
      throw error;
    }
  }

  get notices(): readonly string[] {
    const { device: { provider, profile }, readback, handOffReason } = this.context;
    const handOff = handOffReason && `sums of workgroups take a dispatch more: ${handOffReason}`;
    const hint = provider.hint?.(profile.description);
    const fallbacks = [readback.notice, handOff, hint].flatMap((text) => text ? [text] : []);
    const { lowered } = this.lists;
    const kept = describeReasons(this.graph.nodes, lowered[0].keepsF32 ?? new Map());
    return [...reportNotices(lowered), ...kept, ...fallbacks];
  }

  get preferredRepeat(): number {
    return this.#tokens?.preferredRepeat ?? 1;
  }

  get report(): Readonly<Record<string, unknown>> {
    const { device, readback, handOff, handOffReason = "the self-test passed with it" } =
      this.context;
    return {
      ...this.memory.report,
      ...this.lists.report,
      handOff: { mode: handOff, reason: handOffReason },
      readback: { mode: readback.mode, reason: readback.reason },
      objects: { ...device.created },
    };
  }

  run(
    inputs: Readonly<Record<string, HostNumbers>>,
    bindings: Bindings,
  ): Promise<Record<string, HostNumbers>> {
    return this.#exclusive(async () => {
      const sizes = stepSizes(bindings, this.options);
      const list = await this.lists.forStep(sizes.T, false);
      checkInputs(this.graph, inputs, sizes);
      this.#inputs.forget();
      for (const value of this.graph.inputs) this.memory.writeInput(value, inputs[value.name]);
      this.#inputs.setSizes(sizes);
      return await this.#execute(list, sizes, this.graph.outputs);
    });
  }

  step(request: StepRequest): Promise<StepResult> {
    return this.#exclusive(async () => {
      const { list, sizes, tokens } = await this.#prepare(request);
      const { want } = request;
      this.#recent = { list, sizes };
      if (want !== "logits") return await tokens.run(request, list, sizes, want);
      const value = list.lowered.outputs.get(WANTED_LOGITS)?.value;
      invariant(value, "a language model has logits");
      const wanted = new Map([[WANTED_LOGITS, value]]);
      const outputs = await this.#execute(list, sizes, wanted, request.meanwhile);
      const logits = outputs[WANTED_LOGITS];
      invariant(logits instanceof Float32Array, "logits are f32");
      return { logits };
    });
  }

  outputs(
    request: StepRequest,
    names: readonly string[],
  ): Promise<Record<string, HostNumbers>> {
    return this.#exclusive(async () => {
      const { list, sizes } = await this.#prepare(request);
      this.#recent = { list, sizes };
      return await this.#execute(list, sizes, outputsOf(list, names));
    });
  }

  recentOutputs(names: readonly string[]): Promise<Record<string, HostNumbers>> {
    return this.#exclusive(async () => {
      if (!this.#recent) return {};
      const { list, sizes } = this.#recent;
      return await this.#read(list, sizes, outputsOf(list, names));
    });
  }

  profile(request: StepRequest): Promise<DispatchTiming[] | undefined> {
    const { device, readback } = this.context;
    return this.#exclusive(async () => {
      if (!device.profile.timestamps) return undefined;
      const { list, sizes, tokens } = await this.#prepare(request);
      const { want } = request;
      if (want !== "logits") tokens.prepareDraws(request, want);
      const commands = want === "logits" ? list.commands : [...list.commands, ...list.sampling];
      this.#recent = { list, sizes };
      return await timeCommands(device, readback, commands, sizes);
    });
  }

  /** Checks a step, and writes its inputs to the device. */
  async #prepare(request: StepRequest) {
    const tokens = this.#tokens;
    if (!tokens) throw notALanguageModel(this.graph);
    checkStep(request, this.options);
    const sizes = requestSizes(request, this.options);
    const single = new Set(request.sequenceIds).size === sizes.T;
    const list = await this.lists.forStep(sizes.T, single);
    this.#inputs.set("token_ids", request.tokenIds);
    this.#inputs.set("positions", request.positions);
    this.#inputs.set("sequence_ids", request.sequenceIds);
    this.#inputs.set("block_table", request.blockTable.data);
    this.#inputs.set("logits_rows", request.logitsRows);
    this.#inputs.setSizes(sizes);
    return { list, sizes, tokens };
  }

  async warmUp(): Promise<void> {
    for (const lowered of this.lists.lowered) {
      await this.#exclusive(() => this.lists.ready(lowered));
    }
  }

  markSeen(slot: number, tokenIds: Int32Array<ArrayBuffer>): void {
    this.#tokens?.markSeen(slot, tokenIds);
  }

  /** Frees the memory, once the work under way has ended; what waits for that ends with an error. */
  dispose(): void {
    this.#disposed = true;
    this.context.onDispose?.(this);
    if (this.#unfinished === 0) this.memory.dispose();
  }

  async #execute(
    list: StepList,
    sizes: StepSizes,
    outputs: ReadonlyMap<string, Value>,
    meanwhile?: StepRequest["meanwhile"],
  ): Promise<Record<string, HostNumbers>> {
    return await this.#read(list, sizes, outputs, {
      before: (encoder) => encodeCommands(encoder, list.commands, sizes),
      ...(meanwhile && { meanwhile }),
    });
  }

  /** Copies outputs to the host, after whatever is encoded before. */
  async #read(
    list: StepList,
    sizes: StepSizes,
    outputs: ReadonlyMap<string, Value>,
    { before, meanwhile }: {
      readonly before?: (encoder: GPUCommandEncoder) => void;
      readonly meanwhile?: StepRequest["meanwhile"];
    } = {},
  ): Promise<Record<string, HostNumbers>> {
    const { device, readback } = this.context;
    device.check();
    const wanted = [...outputs].map(([name, value]) => ({
      name,
      value,
      bytes: valueBytes(value, sizes),
      buffer: list.outputBuffer(name),
    }));
    const total = wanted.reduce((sum, { bytes }) => sum + pad(bytes), 0);
    const staging = await this.memory.staging(total);
    const encoder = device.gpu.createCommandEncoder();
    before?.(encoder);
    let end = 0;
    for (const { buffer, bytes } of wanted) {
      encoder.copyBufferToBuffer(buffer, 0, staging, end, pad(bytes));
      end += pad(bytes);
    }
    device.gpu.queue.submit([encoder.finish()]);
    await meanwhile?.();
    const copy = await readback.read(staging, end);
    device.check();
    return splitOutputs(copy, wanted);
  }

  /** One step at a time: buffers are shared between them. */
  #exclusive<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#unfinished++;
    const next = this.#last.then(() => {
      if (this.#disposed) throw disposedProgram(this.graph);
      return work();
    }).catch(async (error) => {
      this.#inputs.forget();
      throw await this.context.device.explain(error);
    }).finally(() => {
      if (--this.#unfinished === 0 && this.#disposed) this.memory.dispose();
    });
    this.#last = next.catch(() => {});
    return next;
  }
}

/** Outputs of a list by name; names that it does not have are left out. */
function outputsOf(list: StepList, names: readonly string[]): ReadonlyMap<string, Value> {
  return new Map(names.flatMap((name) => {
    const value = list.lowered.outputs.get(name)?.value;
    return value ? [[name, value] as const] : [];
  }));
}

function checkInputs(
  graph: Graph,
  inputs: Readonly<Record<string, HostNumbers>>,
  sizes: StepSizes,
): void {
  for (const value of graph.inputs) {
    const expected = valueBytes(value, sizes);
    const got = inputs[value.name]?.byteLength;
    if (got === expected) continue;
    throw new GraphError(
      "graph/input-size",
      `Cannot run graph "${graph.name}": expected input "${value.name}" of ${expected} bytes, got ${
        got ?? "none"
      }`,
    );
  }
}

function splitOutputs(
  copy: ArrayBuffer,
  outputs: readonly { name: string; value: Value; bytes: number }[],
): Record<string, HostNumbers> {
  const result: Record<string, HostNumbers> = {};
  let at = 0;
  for (const { name, value, bytes } of outputs) {
    const data = viewBytes(value.dtype, new Uint8Array(copy, at, bytes));
    invariant(
      data instanceof Float32Array || data instanceof Int32Array,
      `output "${name}" is ${value.dtype}`,
    );
    result[name] = data;
    at += pad(bytes);
  }
  return result;
}

function pad(bytes: number): number {
  return Math.ceil(bytes / 16) * 16;
}

function lowerRange(
  compiled: CompiledGraph,
  range: Pick<LoweringOptions, "tokens" | "operands" | "keepsF32">,
  { device: { profile }, kernels, tuned, handOff }: ProgramContext,
  options: CompileOptions,
): LoweredGraph {
  const sizes = largestSizes(range.tokens.max, options);
  // The same in every range, so that all of them share one sampler.
  const sampling = compiled.language && { ...compiled.language, maxRows: options.maxSequences };
  return lowerGraph(compiled, {
    kernels,
    tuned,
    handOff,
    profile,
    sizes,
    ...range,
    ...(sampling && { sampling }),
  });
}
