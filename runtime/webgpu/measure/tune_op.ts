/**
 * Searches the sizes of one layer beside the experts', dense or attention, for one number of tokens. A
 * candidate is lowered as a table with that row would have it lowered, compared with what runs without a
 * table, then timed; all run alternately, so that what slows one down slows all of them.
 *
 * @module
 */

import {
  type CacheDtype,
  type GraphBuilder,
  invariant,
  KernelError,
  type Node,
  tensor,
  type Value,
} from "../../../graph/mod.ts";
import {
  type DeviceProfile,
  KERNELS,
  type TunableSizes,
  type TunedFiles,
} from "../../../kernels/mod.ts";
import type { WebGpuDevice } from "../device/device.ts";
import { PipelineCache } from "../device/pipelines.ts";
import { type OpCase, OpTrial, PAGE_SIZE, type PreparedOp, trialContext } from "./op_trial.ts";
import { relativeDifference } from "./relative_difference.ts";

/** Largest difference to what runs without a table, relative to the largest number. */
const TOLERANCE = 1e-3;
/** Contexts at which attention is timed; a row serves all. */
const CONTEXTS = [512, 4000];
const ROUNDS = { trial: 2, final: 5 };
const FINALISTS = 6;
/**
 * Candidates that are tried unless told otherwise: attention may have 180, and each takes half a
 * second on an H100 to compile and to time (docs/lab_notes.md).
 */
export const USUAL_CANDIDATES = 48;

/** A row and its time. */
export interface MeasuredRow {
  readonly row: object;
  /** GPU seconds of the layer; of attention the geometric mean over contexts. */
  readonly seconds: number;
}

/** What a search found for one number of tokens. */
export interface TunedOp {
  readonly tokens: number;
  readonly best: MeasuredRow;
  /** Seconds of what runs without a table, in the same comparison. */
  readonly heuristicSeconds: number;
  readonly measured: number;
  /** Candidates that did not compile, or whose results were wrong; each with the reason. */
  readonly failures: readonly string[];
  /** Bytes of weights that one run reads. */
  readonly weightBytes: number;
}

/** Options of {@linkcode tuneOp}. */
export interface TuneOpOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
  /** Most candidates, those nearest to the heuristic first; default {@linkcode USUAL_CANDIDATES}. */
  readonly candidates?: number;
  /** Numbers of the cache; default f16. */
  readonly cacheDtype?: CacheDtype;
  /**
   * As which device kernels are lowered; default the one they run on.
   *
   * @internal
   */
  readonly profile?: DeviceProfile;
}

/** The table of a node for steps of so many sequences, or why it has none. */
export function tunableOf(
  node: Node,
  device: WebGpuDevice,
  tokens: number,
  { cacheDtype = "f16", profile }: Pick<TuneOpOptions, "cacheDtype" | "profile"> = {},
): TunableSizes | string {
  const kernel = KERNELS.find(({ op, tunable }) => op === node.op && tunable);
  if (!kernel?.tunable) return `${node.op} has no sizes to measure`;
  const sizes = sizesFor(tokens, 0);
  const context = trialContext({ sizes, cacheDtype, ...(profile && { profile }) }, device);
  return kernel.refuse(node, context) ?? kernel.tunable(node, context);
}

/**
 * Finds the best row of a node's table for steps of exactly `tokens` sequences with a token each.
 *
 * @throws {KernelError} `kernel/refused` when there is nothing to measure.
 */
export async function tuneOp(
  device: WebGpuDevice,
  node: Node,
  tokens: number,
  options: TuneOpOptions = {},
): Promise<TunedOp> {
  const tunable = tunableOf(node, device, tokens, options);
  if (typeof tunable === "string") {
    throw new KernelError(
      "kernel/refused",
      `Cannot tune "${node.scope}" for ${tokens} tokens: expected sizes to measure, got none (${tunable})`,
      { hint: "Leave this layer to the heuristic" },
    );
  }
  const contexts = node.op === "cached_attention" ? CONTEXTS : [0];
  const pipelines = new PipelineCache(device);
  const trials: OpTrial[] = [];
  try {
    for (const context of contexts) {
      trials.push(await OpTrial.open(device, pipelines, caseOf(node, tokens, context, options)));
    }
    return await new OpSearch(trials, tunable, tokens, options).run();
  } finally {
    for (const trial of trials) trial.dispose();
  }
}

/** A row, prepared for every context. */
interface Contestant {
  readonly row: object | undefined;
  readonly prepared: readonly PreparedOp[];
  readonly samples: number[];
}

class OpSearch {
  readonly #failures: string[] = [];
  #expected: readonly Float32Array[] = [];

  constructor(
    readonly trials: readonly OpTrial[],
    readonly tunable: TunableSizes,
    readonly tokens: number,
    readonly options: TuneOpOptions,
  ) {}

  async run(): Promise<TunedOp> {
    const { candidates = USUAL_CANDIDATES } = this.options;
    const rows = this.tunable.rows.slice(0, candidates);
    const usual = await this.#prepare(undefined);
    this.#expected = await this.#results(usual.prepared);
    const right: Contestant[] = [usual];
    for (const [i, row] of rows.entries()) {
      this.options.signal?.throwIfAborted();
      const contestant = await this.#check(row);
      if (contestant) right.push(contestant);
      this.options.onProgress?.(i + 1, rows.length);
    }
    await this.#compare(right, ROUNDS.trial);
    const finalists = right.slice(1).sort((a, b) => middle(a) - middle(b)).slice(0, FINALISTS);
    for (const { samples } of [usual, ...finalists]) samples.length = 0;
    await this.#compare([usual, ...finalists], ROUNDS.final);
    const [best] = finalists.sort((a, b) => middle(a) - middle(b));
    if (!best?.row) throw this.#nothingRan();
    // The first row is what runs without a table: what is no faster than that gains nothing.
    const isFaster = middle(best) < middle(usual);
    return {
      tokens: this.tokens,
      best: {
        row: isFaster ? best.row : rows[0],
        seconds: Math.min(middle(best), middle(usual)),
      },
      heuristicSeconds: middle(usual),
      measured: right.length,
      failures: this.#failures,
      weightBytes: usual.prepared[0].weightBytes,
    };
  }

  async #prepare(row: object | undefined): Promise<Contestant> {
    const tuned = row && candidateTable(this.tunable.file, this.tokens, row);
    const prepared = [];
    for (const trial of this.trials) prepared.push(await trial.prepare(tuned));
    return { row, prepared, samples: [] };
  }

  /** A candidate whose results are right; a failure is recorded, not raised. */
  async #check(row: object): Promise<Contestant | undefined> {
    try {
      const contestant = await this.#prepare(row);
      const results = await this.#results(contestant.prepared);
      const worst = Math.max(
        ...results.map((got, i) => relativeDifference(got, this.#expected[i])),
      );
      if (worst <= TOLERANCE) return contestant;
      this.#failures.push(`${JSON.stringify(row)}: off by ${worst} of the largest number`);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#failures.push(`${JSON.stringify(row)}: ${error.message}`);
    }
    return undefined;
  }

  async #results(prepared: readonly PreparedOp[]): Promise<Float32Array[]> {
    const results = [];
    for (const [i, trial] of this.trials.entries()) results.push(await trial.output(prepared[i]));
    return results;
  }

  async #compare(contestants: readonly Contestant[], rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      for (const { prepared, samples } of contestants) {
        this.options.signal?.throwIfAborted();
        let product = 1;
        for (const [i, trial] of this.trials.entries()) {
          const [seconds] = await trial.measure(prepared[i], 1);
          product *= seconds;
        }
        samples.push(product ** (1 / this.trials.length));
      }
    }
  }

  #nothingRan(): KernelError {
    return new KernelError(
      "kernel/no-configuration",
      `Cannot tune ${this.tunable.file} for ${this.tokens} tokens: expected a candidate that runs, got ${this.#failures.length} failures`,
      {
        hint: "See the failures with --json, and report them with the device's name",
        details: { failures: this.#failures },
      },
    );
  }
}

/** Tables of which one has one row. */
function candidateTable(file: string, tokens: number, row: object): TunedFiles {
  const table = { path: "candidate", text: JSON.stringify({ [tokens]: row }) };
  return { read: (name) => name === file ? table : undefined };
}

/** So many sequences with a token each behind a context. */
function sizesFor(tokens: number, context: number) {
  const pages = Math.ceil((context + 1) / PAGE_SIZE);
  return { T: tokens, R: tokens, S: tokens, P: pages };
}

/** The node by itself, with inputs in place of what others compute. */
function caseOf(
  node: Node,
  tokens: number,
  context: number,
  { cacheDtype = "f16", profile }: TuneOpOptions,
): OpCase {
  const sizes = sizesFor(tokens, context);
  const pages = sizes.P * tokens;
  const build = (b: GraphBuilder) => {
    const inputs = Object.entries(node.inputs).map(([name, value]) => {
      invariant(!Array.isArray(value), `input "${name}" of ${node.op} is one value`);
      return [name, inputOf(b, name, value as Value)];
    });
    const { outputs } = b.node(node.op, Object.fromEntries(inputs), node.attrs as never);
    return outputs[0];
  };
  return {
    build,
    sizes,
    integers: {
      positions: new Int32Array(tokens).fill(context),
      sequence_ids: Int32Array.from({ length: tokens }, (_, i) => i),
      block_table: Int32Array.from({ length: pages }, (_, i) => i),
    },
    cacheDtype,
    ...(profile && { profile }),
    ...(node.op === "cached_attention" && { cacheBytes: cacheBytesOf(node, pages) }),
  };
}

function inputOf(b: GraphBuilder, name: string, { kind, dtype, shape }: Value): Value {
  return kind === "weight"
    ? b.weight(name, tensor(name, dtype, shape.map(Number)))
    : b.input(name, { dtype, shape });
}

/** Of keys, in f32 at most. */
function cacheBytesOf({ attrs }: Node, pages: number): number {
  const { kvHeads, headDim } = attrs as { kvHeads: number; headDim: number };
  return pages * PAGE_SIZE * kvHeads * headDim * 4;
}

function middle({ samples }: Contestant): number {
  return samples.toSorted((a, b) => a - b)[samples.length >> 1];
}
