/**
 * Runs long work on rows in slices. Most slow ops treat each row of a step (a token) by itself, so
 * a few rows at a time give the same bits, and timers, signals and readers are served in between.
 *
 * @module
 */

import {
  type Bindings,
  type HostTensor,
  invariant,
  type Node,
  nodeInputs,
  type OpName,
  type Value,
} from "../../graph/mod.ts";

/**
 * Ops whose row i depends on no row after it: row by row, or as attention over a cache that the rows
 * join in order.
 */
const BY_ROWS: ReadonlySet<OpName> = new Set<OpName>([
  "linear",
  "fused_linear",
  "gated_mlp",
  "moe_router",
  "moe",
  "fused_moe",
  "cached_attention",
  "cached_mla_attention",
]);

/** Milliseconds that one slice should take. */
const SLICE_MS = 30;

/** Rows of the first slice, and of any: unpacking weights costs the same for one row as for these. */
const FIRST_ROWS = 16;
const LEAST_ROWS = 4;

/** What a node computes at once: on these inputs and with these sizes of the symbols. */
export type RunRows = (
  tensor: (value: Value) => HostTensor,
  bindings: Bindings,
) => readonly HostTensor[];

/** Runs a node, in slices where its op allows it; `pause` is awaited between two of them. */
export async function runInSlices(
  node: Node,
  tensor: (value: Value) => HostTensor,
  bindings: Bindings,
  run: RunRows,
  pause: () => Promise<void>,
): Promise<readonly HostTensor[]> {
  const symbol = rowSymbol(node);
  const rows = symbol === undefined ? 0 : bindings[symbol] ?? 0;
  if (symbol === undefined || rows <= FIRST_ROWS) return run(tensor, bindings);
  let results: readonly HostTensor[] | undefined;
  let count = FIRST_ROWS;
  for (let start = 0; start < rows;) {
    const end = Math.min(rows, start + count);
    const began = performance.now();
    const part = run(
      (value) => value.shape[0] === symbol ? rowsOf(tensor(value), start, end) : tensor(value),
      { ...bindings, [symbol]: end - start },
    );
    results ??= part.map((each) => withRows(each, rows));
    part.forEach((each, i) => putRows(results?.[i], each, start));
    const fitting = Math.round((end - start) * SLICE_MS / (performance.now() - began + 0.01));
    // Later rows of attention cost more than those that were measured.
    count = Math.max(LEAST_ROWS, Math.min(fitting, 2 * count));
    start = end;
    await pause();
  }
  invariant(results, `${node.op} of no rows`);
  return results;
}

/** The symbol of the rows of a node, where slices of them are allowed. */
function rowSymbol(node: Node): string | undefined {
  const [symbol] = node.outputs[0].shape;
  const sliced = BY_ROWS.has(node.op) && typeof symbol === "string" &&
    node.outputs.every(({ shape }) => shape[0] === symbol) &&
    nodeInputs(node).some(({ shape }) => shape[0] === symbol);
  return sliced ? symbol : undefined;
}

function rowsOf({ dtype, shape, data }: HostTensor, start: number, end: number): HostTensor {
  const width = data.length / shape[0];
  return {
    dtype,
    shape: shape.with(0, end - start),
    data: data.subarray(start * width, end * width),
  };
}

function withRows({ dtype, shape, data }: HostTensor, rows: number): HostTensor {
  const length = data.length / shape[0] * rows;
  return { dtype, shape: shape.with(0, rows), data: emptyLike(data, length) };
}

function emptyLike(data: HostTensor["data"], length: number): HostTensor["data"] {
  if (data instanceof Float32Array) return new Float32Array(length);
  if (data instanceof Int32Array) return new Int32Array(length);
  invariant(false, `rows of a ${data.constructor.name}`);
}

function putRows(target: HostTensor | undefined, { data }: HostTensor, start: number): void {
  invariant(target, "a slice has more results than the one before");
  const at = start * (target.data.length / target.shape[0]);
  if (target.data instanceof Float32Array && data instanceof Float32Array) {
    target.data.set(data, at);
  }
  if (target.data instanceof Int32Array && data instanceof Int32Array) target.data.set(data, at);
}
