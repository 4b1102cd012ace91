/**
 * Multi-head latent attention over the paged cache of latents on the CPU, in the absorbed form: a
 * query is taken into the space of the latents, which are keys and values at once.
 *
 * @module
 */

import { type AttrsOf, type HostTensor } from "../../graph/mod.ts";
import { PagedSequence, tokensBySequence } from "./cached_attention.ts";
import { attend, turnHead } from "./head.ts";
import type { CpuCall } from "./kernel.ts";
import { dot, rmsNorm } from "./linear.ts";
import { f32Tensor, floats, integers } from "./numbers.ts";
import { plainRows, type RowReader } from "./rows.ts";

type Floats = Float32Array<ArrayBuffer>;
type Attrs = AttrsOf<"cached_mla_attention">;

/** `cached_mla_attention`: the step's latents join the cache, then each token looks back. */
export function cachedMlaAttention(call: CpuCall<"cached_mla_attention">): HostTensor[] {
  const { inputs, attrs } = call;
  const { heads, latentDim, ropeDim, valueDim } = attrs;
  const positions = integers(inputs.get("positions"));
  const invFreq = floats(inputs.get("inv_freq"));
  const kv = columnsOf(inputs.get("kv"), attrs.kvFirst ?? 0, latentDim + ropeDim);
  const rows = latentRows(kv, floats(inputs.get("kv_norm")), attrs);
  positions.forEach((position, t) =>
    turnHead(rows, t * (latentDim + ropeDim) + latentDim, position, invFreq, attrs.rope)
  );
  const w = plainRows(inputs.get("w"));
  const queries = absorb(queriesOf(call), positions, invFreq, w, attrs);
  const latents = new Float32Array(positions.length * heads * latentDim);
  const table = inputs.get("block_table");
  const [sequences, pages] = table.shape;
  for (const [id, tokens] of tokensBySequence(integers(inputs.get("sequence_ids")), sequences)) {
    const blocks = integers(table).subarray(id * pages, (id + 1) * pages);
    const sequence = new PagedSequence(call.cache(attrs.cache), attrs.cache, id, blocks);
    const width = latentDim + ropeDim;
    const nothing = new Float32Array(0);
    for (const t of tokens) {
      sequence.write(positions[t], rows.subarray(t * width, (t + 1) * width), nothing);
    }
    lookBack(tokens, positions, queries, sequence, attrs, latents);
  }
  const out = new Float32Array(positions.length * heads * valueDim);
  raise(latents, w, attrs, out);
  return [f32Tensor([positions.length, heads * valueDim], out)];
}

/** Columns of a value `[T, width]`. */
function columnsOf(x: HostTensor, first: number, count: number): Floats {
  const [tokens, width] = x.shape;
  const values = floats(x);
  if (width === count) return values;
  const out = new Float32Array(tokens * count);
  for (let t = 0; t < tokens; t++) {
    out.set(values.subarray(t * width + first, t * width + first + count), t * count);
  }
  return out;
}

/** Queries `[T, heads · (nopeDim + ropeDim)]`, which may have to be made of latents. */
function queriesOf({ inputs, attrs }: CpuCall<"cached_mla_attention">): Floats {
  const { heads, nopeDim, ropeDim, qFirst = 0, qEps } = attrs;
  const count = heads * (nopeDim + ropeDim);
  const up = inputs.maybe("q_w");
  if (!up || qEps === undefined) return columnsOf(inputs.get("q"), qFirst, count);
  const rank = up.shape[1];
  const latents = columnsOf(inputs.get("q"), qFirst, rank);
  const norm = floats(inputs.get("q_norm"));
  const w = plainRows(up);
  const tokens = latents.length / rank;
  const normed = Array.from(
    { length: tokens },
    (_, t) => rmsNorm(latents.slice(t * rank, (t + 1) * rank), norm, qEps),
  );
  const out = new Float32Array(tokens * count);
  for (let row = 0; row < count; row++) {
    const start = w.load(row);
    normed.forEach((x, t) => out[t * count + row] = dot(x, 0, w.values, start, rank));
  }
  return out;
}

/** A copy of `kv [T, latentDim + ropeDim]` with its latents normed. */
function latentRows(kv: Floats, norm: Floats, { latentDim, ropeDim, eps }: Attrs): Floats {
  const width = latentDim + ropeDim;
  const rows = kv.slice();
  for (let start = 0; start < rows.length; start += width) {
    rows.set(rmsNorm(rows.slice(start, start + latentDim), norm, eps), start);
  }
  return rows;
}

/** Queries `[T, heads, latentDim + ropeDim]`: the first part times the key rows of w, the rest turned. */
function absorb(
  q: Floats,
  positions: Int32Array,
  invFreq: Floats,
  w: RowReader,
  { heads, nopeDim, ropeDim, valueDim, latentDim, rope }: Attrs,
): Floats {
  const width = latentDim + ropeDim;
  const out = new Float32Array(positions.length * heads * width);
  for (let h = 0; h < heads; h++) {
    const sums = new Float64Array(positions.length * latentDim);
    for (let n = 0; n < nopeDim; n++) {
      const start = w.load(h * (nopeDim + valueDim) + n);
      positions.forEach((_, t) => {
        const factor = q[(t * heads + h) * (nopeDim + ropeDim) + n];
        for (let l = 0; l < latentDim; l++) {
          sums[t * latentDim + l] += factor * w.values[start + l];
        }
      });
    }
    positions.forEach((position, t) => {
      const [from, to] = [(t * heads + h) * (nopeDim + ropeDim), (t * heads + h) * width];
      out.set(sums.subarray(t * latentDim, (t + 1) * latentDim), to);
      out.set(q.subarray(from + nopeDim, from + nopeDim + ropeDim), to + latentDim);
      turnHead(out, to + latentDim, position, invFreq, rope);
    });
  }
  return out;
}

/** Attention of the tokens of one sequence over its latents, into `[T, heads, latentDim]`. */
function lookBack(
  tokens: readonly number[],
  positions: Int32Array,
  queries: Floats,
  sequence: PagedSequence,
  { heads, latentDim, ropeDim, scale }: Attrs,
  out: Floats,
): void {
  const width = latentDim + ropeDim;
  const end = Math.max(...tokens.map((t) => positions[t])) + 1;
  const { keys } = sequence.read(0, 0, end);
  const values = new Float32Array(end * latentDim);
  for (let i = 0; i < end; i++) {
    values.set(keys.subarray(i * width, i * width + latentDim), i * latentDim);
  }
  const head = { keys, values, keyDim: width, valueDim: latentDim };
  for (const t of tokens) {
    const seen = Int32Array.from({ length: positions[t] + 1 }, (_, i) => i);
    for (let h = 0; h < heads; h++) {
      const query = { values: queries, start: (t * heads + h) * width, scale, sink: undefined };
      attend(query, head, seen, out, (t * heads + h) * latentDim);
    }
  }
}

/** Mixed latents times the value rows of w, into `[T, heads · valueDim]`. */
function raise(latents: Floats, w: RowReader, attrs: Attrs, out: Floats): void {
  const { heads, nopeDim, valueDim, latentDim } = attrs;
  const tokens = latents.length / (heads * latentDim);
  for (let h = 0; h < heads; h++) {
    for (let v = 0; v < valueDim; v++) {
      const start = w.load(h * (nopeDim + valueDim) + nopeDim + v);
      for (let t = 0; t < tokens; t++) {
        const row = t * heads + h;
        out[row * valueDim + v] = dot(latents, row * latentDim, w.values, start, latentDim);
      }
    }
  }
}
