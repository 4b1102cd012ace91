/**
 * The baseline of the MoE benches: what a straightforward port to WebGPU does. The host knows which
 * slots each expert got (the readback for that is not counted), copies the residual, and runs for one
 * expert after the other: gather, gate product, up product, activation, down product, combine.
 *
 * @module
 */

import { invariant, type Value } from "../../graph/mod.ts";
import type { Dispatch, Scratch } from "../../kernels/mod.ts";
import type { MoeTrial } from "../../runtime/mod.ts";
import biasText from "./bias.wgsl" with { type: "text" };
import combineShader from "./combine.wgsl" with { type: "text" };
import gatherShader from "./gather.wgsl" with { type: "text" };
import directShader from "./matmul_direct.wgsl" with { type: "text" };
import matmulShader from "./matmul.wgsl" with { type: "text" };
import noBiasText from "./no_bias.wgsl" with { type: "text" };
import partText from "./part.wgsl" with { type: "text" };
import siluMulShader from "./silu_mul.wgsl" with { type: "text" };
import startShader from "./start.wgsl" with { type: "text" };

/** Memory of a dispatch. */
type Buffer = Dispatch["bindings"][number]["buffer"];

/** The slots that chose one expert. */
interface Part {
  readonly rows: number;
  /** The shader's struct of the same name. */
  readonly uniform: Scratch;
}

/** The unfused dispatches of a layer in bf16, for each rotation of a trial. */
export async function unfusedLayer(
  trial: MoeTrial,
): Promise<(rotation: number) => readonly Dispatch[]> {
  const { spec, values } = trial;
  invariant(
    spec.format === "bf16" && spec.mlp === "gated" && values.residual,
    "the baseline's layer",
  );
  const start = copyDispatch(values.residual, values.output, trial.tokens * spec.hidden);
  const rotations = await Promise.all(
    trial.choices.map(async (ids, rotation) => {
      const groups = groupByExpert(ids, spec.experts);
      const list = await trial.provide(`slots ${rotation}`, Uint32Array.from(groups.flat()));
      const dispatches: Dispatch[] = [start];
      let first = 0;
      for (const [expert, { length: rows }] of groups.entries()) {
        if (rows === 0) continue;
        const place = Uint32Array.of(rows, first, expert, 0);
        const uniform = await trial.provide(`part ${rotation} ${expert}`, place);
        dispatches.push(...expertDispatches(trial, { rows, uniform }, list));
        first += rows;
      }
      return dispatches;
    }),
  );
  return (rotation) => rotations[rotation];
}

function groupByExpert(ids: Int32Array, experts: number): number[][] {
  const groups: number[][] = Array.from({ length: experts }, () => []);
  for (const [slot, expert] of ids.entries()) groups[expert].push(slot);
  return groups;
}

function expertDispatches(trial: MoeTrial, part: Part, list: Scratch): Dispatch[] {
  const { spec, values } = trial;
  const { hidden, intermediate, topK, activation } = spec;
  const scratch = (name: string, columns: number): Scratch => ({
    kind: "scratch",
    name,
    bytes: trial.tokens * topK * columns * 4,
  });
  const [rows, gate, up] = [
    scratch("rows", hidden),
    scratch("gate", intermediate),
    scratch("up", intermediate),
  ];
  const [act, down] = [scratch("act", intermediate), scratch("down", hidden)];
  const elementwise = [Math.ceil(hidden / 64), part.rows] as const;
  const sizes = { H: hidden, TOP_K: topK };
  // w_up holds the up rows of an expert, then its gate rows.
  const first = {
    n: intermediate,
    k: hidden,
    x: rows,
    w: values.wUp,
    bias: values.bUp,
    expertRows: 2,
  };
  return [
    dispatch("gather", gatherShader, sizes, [values.x, list], rows, [part.uniform], elementwise),
    product(trial, part, { ...first, y: gate, firstRow: intermediate }),
    product(trial, part, { ...first, y: up, firstRow: 0 }),
    dispatch(
      "silu_mul",
      `const OAI = ${activation === "swiglu_oai"};\n${siluMulShader}`,
      { COLUMNS: intermediate },
      [gate, up],
      act,
      [part.uniform],
      lineGrid(part.rows * intermediate),
    ),
    product(trial, part, {
      ...{ n: hidden, k: intermediate, x: act, w: values.wDown, bias: values.bDown, y: down },
      ...{ expertRows: 1, firstRow: 0 },
    }),
    dispatch(
      "combine",
      combineShader,
      sizes,
      [down, list, values.routingWeights],
      values.output,
      [part.uniform],
      elementwise,
    ),
  ];
}

/** One matrix product of an expert. */
interface Product {
  readonly x: Scratch;
  readonly w: Value;
  readonly bias: Value | undefined;
  readonly y: Scratch;
  readonly n: number;
  readonly k: number;
  /** Matrices of `n` rows that an expert has in w, and the first row of this one. */
  readonly expertRows: number;
  readonly firstRow: number;
}

function product(trial: MoeTrial, part: Part, { x, w, bias, y, ...sizes }: Product): Dispatch {
  const { n, k, expertRows, firstRow } = sizes;
  const shader = trial.spec.profile.software ? directShader : matmulShader;
  return dispatch(
    "matmul",
    shader + (bias ? biasText : noBiasText),
    {
      ...{ N: n, K: k, EXPERT_WORDS: (expertRows * n * k) / 2, FIRST_WORD: (firstRow * k) / 2 },
      ...(bias && { BIAS_STRIDE: expertRows * n, BIAS_FIRST: firstRow }),
    },
    [x, w],
    y,
    [part.uniform, ...(bias ? [bias] : [])],
    [Math.ceil(n / 16), Math.ceil(part.rows / 16)],
  );
}

function copyDispatch(from: Value, to: Value, count: number): Dispatch {
  return dispatch("start", startShader, { COUNT: count }, [from], to, [], lineGrid(count));
}

/** Workgroups of 64 for a line of elements. */
function lineGrid(count: number): readonly [number, number] {
  const groups = Math.ceil(count / 64);
  const width = Math.min(groups, 65535);
  return [width, Math.ceil(groups / width)];
}

/** A dispatch whose bindings are what it reads, what it writes, and what else it reads. */
function dispatch(
  kernel: string,
  shader: string,
  constants: Record<string, number>,
  reads: readonly Buffer[],
  writes: Buffer,
  more: readonly Buffer[],
  [columns, rows]: readonly [number, number],
): Dispatch {
  const prelude = Object.entries(constants).map(([name, value]) => `const ${name} = ${value}u;\n`);
  const read = (buffer: Buffer) => ({ buffer, access: "read" }) as const;
  return {
    kernel: `baseline_${kernel}`,
    wgsl: `${prelude.join("")}${partText}${shader}`,
    bindings: [...reads.map(read), { buffer: writes, access: "read_write" }, ...more.map(read)],
    workgroups: () => [columns, rows, 1],
  };
}
