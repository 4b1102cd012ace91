/**
 * Compares the compiled program with the same graph on the CPU, on the executor that will run: many
 * tokens in one step, then one token after the other, whose kernels differ.
 *
 * @module
 */

import {
  type Graph,
  isOp,
  labelNode,
  messageOf,
  type Node,
  type TensorSource,
  type Value,
} from "../graph/mod.ts";
import {
  compileSizes,
  configuredOperands,
  configuredRanges,
  type Executor,
  openCpuExecutor,
  type Program,
  type StepLimits,
  type StepRequest,
  tokenRanges,
} from "../runtime/mod.ts";
import { logitsOf, requestsOf, type Steps } from "./single_sequence.ts";
import { compareLogits, type VerifyRow } from "./verify.ts";

/** What a deployment has when its program is ready. */
export interface VerifiedProgram {
  readonly graph: Graph;
  readonly program: Program;
  readonly executor: Executor;
  readonly limits: StepLimits;
  readonly source: TensorSource;
  /** The sample, of at least one token. */
  readonly tokenIds: Int32Array<ArrayBuffer>;
  /** Logits of the sample on the CPU, where the graph has run there. */
  readonly logits: Float32Array | undefined;
}

/** Key under which rows of the program stand beside those of transforms. */
const PROGRAM = "compiled program";

/** Tokens of the sample where operands may be f16, which takes steps of many tokens. */
const TOKENS_FOR_OPERANDS = 256;
/** Tokens that are computed one after the other. */
const SINGLE_STEPS = 16;

/**
 * Difference from which on results count as wrong: relative to the largest number. Sums in another
 * order stay a thousand times below; what an f16 cache rounds to either neighbour stays below too.
 */
const WRONG = { exact: 5e-3, rounded: 5e-2 };

/** The rows of a program; the first bad node is searched where logits are off. */
export async function compareProgram(deployed: VerifiedProgram): Promise<VerifyRow[]> {
  const { graph, executor, limits, program } = deployed;
  if (executor.kind === "cpu") return [notCompared("the CPU runs the graph that was compared")];
  const tokenIds = sampleFor(deployed);
  const against = hasHalfOperands(graph) ? "the CPU with f32 operands" : "the CPU";
  const isWhole = tokenIds.length === deployed.tokenIds.length;
  const expected = (isWhole ? deployed.logits : undefined) ?? await cpuLogits(deployed, tokenIds);
  const vocabulary = expected.length / tokenIds.length;
  const compare = async (step: string, steps: Steps): Promise<VerifyRow> => {
    const logits = await logitsOf(program, steps);
    const row = {
      ...{ transform: PROGRAM, against, step },
      ...compareLogits(expected.subarray(0, logits.length), logits, vocabulary),
    };
    return row.maxDifference < wrongFrom(graph) ? row : await nameBadNode(row, deployed, steps);
  };
  const { pageSize, recompute } = limits;
  const some = tokenIds.slice(0, SINGLE_STEPS);
  return [
    await compare(`${tokenIds.length} tokens in one step`, {
      ...{ tokenIds, pageSize, chunk: tokenIds.length },
    }),
    recompute
      ? notCompared("single tokens: the graph has no KV cache")
      : await compare(`${some.length} tokens, one after the other`, {
        ...{ tokenIds: some, pageSize, chunk: 1 },
      }),
    notCompared(
      `steps of several sequences, of other sizes than ${tokenIds.length} and 1, and sampling`,
    ),
  ];
}

function notCompared(skipped: string): VerifyRow {
  return { transform: PROGRAM, skipped };
}

/** The sample, repeated where only steps of many tokens show what f16 operands change. */
function sampleFor({ graph, limits, tokenIds }: VerifiedProgram): Int32Array<ArrayBuffer> {
  const wanted = hasHalfOperands(graph) ? TOKENS_FOR_OPERANDS : tokenIds.length;
  const length = Math.min(wanted, limits.maxTokens, limits.maxRows, limits.maxSequenceTokens);
  return Int32Array.from({ length }, (_, i) => tokenIds[i % tokenIds.length]);
}

/** Whether products may take operands in f16, of dense layers or of experts. */
function hasHalfOperands(graph: Graph): boolean {
  return configuredOperands(graph) !== "f32" ||
    graph.nodes.some((node) => isOp(node, "fused_moe") && isHalf(node.attrs));
}

function isHalf({ operands = "f32" }: { readonly operands?: string }): boolean {
  return operands !== "f32";
}

function wrongFrom(graph: Graph): number {
  const isRounded = hasHalfOperands(graph) || graph.caches.some(({ dtype }) => dtype === "f8_e4m3");
  return isRounded ? WRONG.rounded : WRONG.exact;
}

async function cpuLogits(
  deployed: VerifiedProgram,
  tokenIds: Int32Array<ArrayBuffer>,
): Promise<Float32Array> {
  const executor = openCpuExecutor();
  const { pageSize } = deployed.limits;
  const steps = { tokenIds, pageSize, chunk: tokenIds.length };
  try {
    return await logitsOf(await compileFor(executor, deployed, steps), steps);
  } finally {
    executor.dispose();
  }
}

/** A program for one sequence, in the range of step sizes that the deployed one takes. */
function compileFor(
  executor: Executor,
  { graph, source, limits }: VerifiedProgram,
  { tokenIds, chunk, pageSize }: Steps,
): Promise<Program> {
  const ranges = tokenRanges(limits.maxTokens, configuredRanges(graph));
  const range = ranges.find(({ max }) => chunk <= max);
  const pages = Math.ceil(tokenIds.length / pageSize);
  return executor.compile(graph, {
    ...compileSizes({ ...limits, maxTokens: range?.max ?? chunk, maxRows: chunk }),
    ...{ source, pages, maxPagesPerSequence: pages, maxSequences: 1, compileAll: false },
  });
}

/** A result of a node that both executors can give. */
interface Watched {
  readonly name: string;
  readonly node: Node;
  readonly value: Value;
}

/** The row with the first node whose result is off, or why there is none. */
async function nameBadNode(
  row: VerifyRow,
  deployed: VerifiedProgram,
  steps: Steps,
): Promise<VerifyRow> {
  try {
    return { ...row, firstBadNode: await firstBadNode(deployed, steps) };
  } catch (error) {
    return { ...row, firstBadNode: `not found: ${messageOf(error)}` };
  }
}

/** Runs the graph on both executors with the results of all nodes as outputs. */
async function firstBadNode(deployed: VerifiedProgram, steps: Steps): Promise<string> {
  const { graph, executor } = deployed;
  const snapshot = graph.snapshot();
  const cpu = openCpuExecutor();
  let program: Program | undefined;
  try {
    const watched = watchNodes(graph);
    const names = watched.map(({ name }) => name);
    const onCpu = await compileFor(cpu, deployed, steps);
    program = await compileFor(executor, deployed, steps);
    for (const request of requestsOf(steps)) {
      const expected = await onCpu.outputs(request, names);
      const got = await program.outputs(request, names);
      const bad = watched.map(({ name, ...at }) => ({
        ...at,
        difference: relativeDifference(got[name], expected[name]),
      })).find(({ difference }) => difference >= wrongFrom(graph));
      if (bad) return describeBad(bad.node, bad.value, bad.difference, request);
    }
    return "none: with every result kept in memory of its own the program is right";
  } finally {
    program?.dispose();
    cpu.dispose();
    graph.restore(snapshot);
  }
}

function describeBad(
  node: Node,
  { dtype }: Value,
  difference: number,
  { positions }: StepRequest,
): string {
  const unit = dtype === "i32" ? "of its numbers" : "of its largest number";
  return `${labelNode(node)}, off by ${difference.toPrecision(2)} ${unit} in the step at position ${
    positions[0]
  }`;
}

/** Makes the results of nodes outputs; the caller restores the graph. */
function watchNodes(graph: Graph): readonly Watched[] {
  const known = new Set(["T", "R", "S", "P"]);
  const watched = graph.nodes.flatMap((node) =>
    node.outputs
      .filter(({ dtype, shape }) =>
        (dtype === "f32" || dtype === "i32") &&
        shape.every((dim) => typeof dim === "number" || known.has(dim))
      )
      .map((value, i): Watched => ({ name: `result ${i} of node ${node.id}`, node, value }))
  );
  for (const { name, value } of watched) graph.setOutput(name, value);
  return watched;
}

/** Largest difference by the largest number; of whole numbers the share that differs. */
function relativeDifference(
  got: Float32Array | Int32Array,
  expected: Float32Array | Int32Array,
): number {
  if (expected instanceof Int32Array) {
    return expected.filter((value, i) => got[i] !== value).length / expected.length;
  }
  return compareLogits(expected, got, expected.length).maxDifference;
}
