/**
 * Recognises multi-head latent attention as it stands after the other transforms: keys and values of
 * all heads from one latent a token, and one key that turns for all heads.
 *
 * @module
 */

import {
  dequantize,
  input,
  inputList,
  isOp,
  isPacked,
  type Node,
  optionalInput,
  type Probe,
  type RopeAttrs,
  type Value,
  type Weight,
} from "../../graph/mod.ts";

/** A layer of latent attention. */
export interface Latent {
  readonly attention: Node<"attention">;
  /** [T, heads · (nopeDim + ropeDim)], or what queries are made of. */
  readonly q: Columns & { readonly made?: MadeQueries };
  /** [T, latentDim + ropeDim] */
  readonly kv: Columns;
  readonly kvNorm: Value;
  readonly eps: number;
  /** [heads · (nopeDim + valueDim), latentDim] */
  readonly up: Weight;
  readonly upName: string;
  readonly rope: RopeAttrs;
  readonly inverseFrequencies: Value;
  readonly sizes: {
    readonly heads: number;
    readonly nopeDim: number;
    readonly ropeDim: number;
    readonly valueDim: number;
    readonly latentDim: number;
  };
}

/** Columns of a value from `first` on. */
interface Columns {
  readonly value: Value;
  readonly first: number;
}

/** How queries are made of normed latents `[T, rank]`. */
interface MadeQueries {
  /** [heads · (nopeDim + ropeDim), rank] */
  readonly weight: Value;
  readonly norm: Value;
  readonly eps: number;
}

/** Follows an attention's operands back to the latents. */
export function matchLatent(probe: Probe, attention: Node<"attention">): Latent {
  const query = headParts(probe, attention, "q");
  const key = headParts(probe, attention, "k");
  const q = rotated(probe, query.second);
  const spread = probe.maybe(key.second, "expand");
  if (!spread) return probe.fail(attention, "its keys do not share the part that turns");
  probe.recognised();
  const k = rotated(probe, input(spread, "x"));
  const same = JSON.stringify(q.rope.attrs) === JSON.stringify(k.rope.attrs) &&
    input(q.rope, "inv_freq").id === input(k.rope, "inv_freq").id;
  probe.check(same, attention, "q and k have different RoPE");
  const position = input(attention, "positions").id;
  const placed = input(q.rope, "positions").id === position &&
    input(k.rope, "positions").id === position;
  probe.check(placed, attention, "RoPE and attention have different positions");
  const queries = wholeHeads(probe, attention, query.first, q.x);
  const shared = probe.maybe(k.x, "unsqueeze");
  const turning = probe.maybe(shared && input(shared, "x"), "slice");
  if (!turning) return probe.fail(attention, "the key that turns is no part of the latents");
  const made = wholeHeads(probe, attention, key.first, input(attention, "v"));
  const up = latentOf(probe, attention, made.value);
  const kv = input(turning, "x");
  const latentDim = Number(up.latent.outputs[0].shape[1]);
  const neighbours = input(up.latent, "x").id === kv.id && up.latent.attrs.start === 0 &&
    turning.attrs.start === latentDim;
  probe.check(neighbours, attention, "latent and turning key do not lie side by side");
  checkSight(probe, attention);
  const width = latentDim + Number(q.x.shape[2]);
  const whole =
    `a cache of latents takes multiples of ${WORD}, not ${width}: keys and values of every head are kept`;
  probe.check(width % WORD === 0, attention, whole);
  return {
    attention,
    q: queriesOf(probe, queries.value),
    kv: columnsOf(probe, kv),
    ...{ kvNorm: up.norm, eps: up.eps, up: up.weight, upName: up.name },
    rope: q.rope.attrs,
    inverseFrequencies: input(q.rope, "inv_freq"),
    sizes: {
      heads: Number(input(attention, "q").shape[0]),
      nopeDim: queries.split,
      ropeDim: Number(q.x.shape[2]),
      valueDim: Number(input(attention, "v").shape[2]),
      latentDim,
    },
  };
}

/** Numbers that kernels read of a cache at once. */
const WORD = 8;

/** The kernels look back over everything, and know no sinks. */
function checkSight(probe: Probe, attention: Node<"attention">): void {
  const { window, chunk } = attention.attrs;
  probe.check(window === undefined && chunk === undefined, attention, "it has a window");
  probe.check(optionalInput(attention, "sinks") === undefined, attention, "it has sinks");
}

/** `[first, second]` joined in every head of q or k. */
function headParts(probe: Probe, attention: Node, name: "q" | "k") {
  const joined = probe.from(attention, name, "concat");
  const [first, second, ...rest] = inputList(joined, "xs");
  probe.check(rest.length === 0 && second !== undefined, joined, "it has not two parts");
  return { first, second };
}

function rotated(probe: Probe, value: Value) {
  const node = probe.graph.producer(value);
  if (isOp(node, "rope")) return { rope: node, x: input(node, "x") };
  return probe.fail(node ?? probe.graph.nodes[0], "the second part of its heads does not turn");
}

/** Two neighbouring slices of `[heads, T, D]`, which is `[T, heads · D]` transposed. */
function wholeHeads(probe: Probe, at: Node, first: Value, second: Value) {
  const [left, right] = [probe.maybe(first, "slice"), probe.maybe(second, "slice")];
  if (!left || !right) return probe.fail(at, "the parts of its heads are no slices");
  const split = Number(left.outputs[0].shape[2]);
  const whole = input(left, "x");
  const neighbours = input(right, "x").id === whole.id && left.attrs.start === 0 &&
    right.attrs.start === split &&
    split + Number(right.outputs[0].shape[2]) === Number(whole.shape[2]);
  probe.check(neighbours, at, "the parts of its heads are not neighbours");
  const turned = probe.maybe(whole, "transpose");
  const reshape = probe.maybe(turned && input(turned, "x"), "reshape");
  if (!reshape) return probe.fail(at, "its heads are not split from one projection");
  return { value: input(reshape, "x"), split };
}

/** The value itself, or the wider one that it is some columns of. */
function columnsOf(probe: Probe, value: Value): Columns {
  const slice = probe.maybe(value, "slice");
  const { dim, start = 0, step = 1 } = slice?.attrs ?? {};
  if (!slice || step !== 1 || (dim !== 1 && dim !== -1)) return { value, first: 0 };
  return { value: input(slice, "x"), first: start };
}

/** Queries as they are, or the latents and the plain layer that make them. */
function queriesOf(probe: Probe, value: Value): Latent["q"] {
  const linear = probe.maybe(value, "fused_linear");
  const norm = linear && optionalInput(linear, "norm_weight");
  const alone = linear && !linear.inputs.bias && !linear.inputs.residual &&
    probe.graph.users(value).length === 1;
  const eps = linear?.attrs.normEps;
  if (!linear || !norm || !alone || eps === undefined) return columnsOf(probe, value);
  const { format, activationQuant = "none" } = linear.attrs;
  if ((format !== undefined && isPacked(format)) || activationQuant !== "none") {
    return columnsOf(probe, value);
  }
  return {
    ...columnsOf(probe, input(linear, "x")),
    made: { weight: input(linear, "w"), norm, eps },
  };
}

/** The linear layer that makes keys and values of normed latents. */
function latentOf(probe: Probe, at: Node, value: Value) {
  const linear = probe.maybe(value, "fused_linear") ?? probe.maybe(value, "linear");
  if (!linear) return probe.fail(at, "its keys and values are not made by a linear layer");
  probe.check(linear.inputs.bias === undefined, linear, "it has a bias");
  probe.check(linear.inputs.residual === undefined, linear, "it has a residual");
  const { value: x, norm, eps } = normOf(probe, linear);
  const latent = probe.maybe(x, "slice");
  if (!latent) return probe.fail(at, "its latents are no part of a projection");
  const w = input(linear, "w");
  return { latent, norm, eps, weight: plainOf(probe, linear), name: w.name };
}

function normOf(probe: Probe, linear: Node<"fused_linear"> | Node<"linear">) {
  const inside = optionalInput(linear, "norm_weight");
  if (isOp(linear, "fused_linear") && inside) {
    return { value: input(linear, "x"), norm: inside, eps: linear.attrs.normEps ?? 0 };
  }
  const norm = probe.from(linear, "x", "rms_norm");
  return { value: input(norm, "x"), norm: input(norm, "w"), eps: norm.attrs.eps };
}

/** The weight as plain numbers; packed ones are expanded to f32, which loses nothing of them. */
function plainOf(probe: Probe, linear: Node<"fused_linear"> | Node<"linear">): Weight {
  const { format, block } = linear.attrs;
  const { weight } = probe.weight(linear, "w");
  if (!weight) return probe.fail(linear, "its weight is no expression");
  if (format === undefined || !isPacked(format)) return weight;
  const scales = ["w_scale", "w_scale_2"].flatMap((name) =>
    optionalInput(linear, name)?.weight ?? []
  );
  return dequantize(format, weight, scales, block && { block });
}
