/**
 * Attention over the paged KV cache on the CPU.
 *
 * @module
 */

import {
  type AttrsOf,
  E4M3_VALUES,
  encodeE4M3,
  type HostTensor,
  invariant,
  KernelError,
} from "../../graph/mod.ts";
import { rmsNorm } from "./linear.ts";
import { attend, firstSeen, type HeadCache, turnHead } from "./head.ts";
import type { CpuCache, CpuCall } from "./kernel.ts";
import { f32Tensor, floats, integers } from "./numbers.ts";

type Floats = Float32Array<ArrayBuffer>;
type Integers = Int32Array<ArrayBuffer>;
/** The array of a cache; bytes are E4M3 codes. */
type Rows = Floats | Float16Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;

/** q, k and v of a step, each `[T, heads · dim]`, ready for the cache. */
interface Projections {
  readonly q: Floats;
  readonly k: Floats;
  readonly v: Floats;
}

/** Splits qkv, then norms, clips and turns q and k, in this order; v does not turn. */
function prepare({ inputs, attrs }: CpuCall<"cached_attention">, positions: Integers): Projections {
  const { heads, kvHeads, headDim, valueDim = headDim, clip, qkNorm, rope } = attrs;
  const qkv = inputs.maybe("qkv");
  const invFreq = inputs.maybe("inv_freq");
  const [queryWidth, kvWidth] = [heads * headDim, kvHeads * headDim];
  const valueWidth = kvHeads * valueDim;
  const { valueNorm, keysAreValues = false } = attrs;
  const allWidth = queryWidth + kvWidth + (keysAreValues ? 0 : valueWidth);
  const part = (name: string, first: number, width: number) => {
    const values = qkv
      ? columnsOf(floats(qkv), allWidth, first, width)
      : floats(inputs.get(name)).slice();
    const norm = inputs.maybe(`${name}_norm`);
    invariant(!norm || qkNorm, `${name}_norm without the attribute qkNorm`);
    // Over a head, the weight has headDim elements; over all heads together, all of them.
    const normed = name === "v" && valueNorm
      ? rmsNorm(values, new Float32Array(valueDim).fill(1), valueNorm.eps)
      : qkNorm && norm
      ? rmsNorm(values, floats(norm), qkNorm.eps)
      : values;
    if (clip !== undefined) {
      for (let i = 0; i < normed.length; i++) {
        normed[i] = Math.min(Math.max(normed[i], -clip), clip);
      }
    }
    for (
      let start = 0;
      rope && invFreq && name !== "v" && start < normed.length;
      start += headDim
    ) {
      turnHead(normed, start, positions[Math.floor(start / width)], floats(invFreq), rope);
    }
    return normed;
  };
  return {
    q: part("q", 0, queryWidth),
    k: part("k", queryWidth, kvWidth),
    v: part("v", keysAreValues ? queryWidth : queryWidth + kvWidth, valueWidth),
  };
}

function columnsOf(values: Floats, width: number, first: number, count: number): Floats {
  const rows = values.length / width;
  const result = new Float32Array(rows * count);
  for (let row = 0; row < rows; row++) {
    const start = row * width + first;
    result.set(values.subarray(start, start + count), row * count);
  }
  return result;
}

/** A sequence's way through the pages of a cache. */
export class PagedSequence {
  readonly #pages: number;
  readonly #kvHeads: number;
  readonly #pageSize: number;
  readonly #keyDim: number;
  readonly #valueDim: number;

  constructor(
    readonly cache: CpuCache,
    readonly cacheName: string,
    readonly sequence: number,
    readonly blocks: Integers,
  ) {
    [this.#pages, this.#kvHeads, this.#pageSize, this.#keyDim] = cache.keys.shape;
    this.#valueDim = cache.values.shape[3];
  }

  /** Number of a head's row of a position in the cache's arrays. */
  #row(position: number, head: number): number {
    const block = Math.floor(position / this.#pageSize);
    const page = this.blocks[block];
    if (!(page >= 0 && page < this.#pages)) {
      throw new KernelError(
        "kernel/block-table",
        `Cannot find the page of position ${position} of sequence ${this.sequence} in cache ` +
          `"${this.cacheName}": expected a page from 0 to ${this.#pages - 1}, got ${
            page ?? "none"
          }`,
        { hint: "Give the sequence a page for every pageSize tokens in the block table" },
      );
    }
    return (page * this.#kvHeads + head) * this.#pageSize + position % this.#pageSize;
  }

  /** Stores a token's keys and values, all heads, rounding them to the cache's type. */
  write(position: number, k: Floats, v: Floats): void {
    for (let head = 0; head < this.#kvHeads; head++) {
      const to = this.#row(position, head);
      const [keyDim, valueDim] = [this.#keyDim, this.#valueDim];
      const key = k.subarray(head * keyDim, (head + 1) * keyDim);
      store(key, cacheArray(this.cache.keys), to * keyDim);
      const value = v.subarray(head * valueDim, (head + 1) * valueDim);
      store(value, cacheArray(this.cache.values), to * valueDim);
    }
  }

  /** A head's keys and values of positions `first..end - 1`. */
  read(head: number, first: number, end: number): HeadCache {
    const [keyDim, valueDim] = [this.#keyDim, this.#valueDim];
    const keys = new Float32Array((end - first) * keyDim);
    const values = new Float32Array((end - first) * valueDim);
    for (let position = first; position < end;) {
      const run = Math.min(end - position, this.#pageSize - position % this.#pageSize);
      const [from, to] = [this.#row(position, head), position - first];
      copy(cacheArray(this.cache.keys), from * keyDim, keys, to * keyDim, run * keyDim);
      copy(cacheArray(this.cache.values), from * valueDim, values, to * valueDim, run * valueDim);
      position += run;
    }
    return { keys, values, keyDim, valueDim };
  }
}

/** Elements of a cache as f32. */
function copy(source: Rows, from: number, target: Floats, to: number, count: number): void {
  if (source instanceof Float32Array) target.set(source.subarray(from, from + count), to);
  else if (source instanceof Float16Array) decodeHalfs(source, from, target, to, count);
  else {
    for (let i = 0; i < count; i++) target[to + i] = E4M3_VALUES[source[from + i]];
  }
}

/**
 * Rounds numbers to the cache's type. E4M3 saturates at ±448; what f16 cannot hold becomes NaN, for an
 * infinite key could go unseen: a score of minus infinity only hides its token.
 */
function store(source: Floats, target: Rows, to: number): void {
  if (target instanceof Uint8Array) {
    for (let i = 0; i < source.length; i++) target[to + i] = encodeE4M3(source[i]);
    return;
  }
  target.set(source, to);
  if (target instanceof Float32Array) return;
  for (let i = 0; i < source.length; i++) {
    if (Math.abs(source[i]) >= BEYOND_F16) target[to + i] = NaN;
  }
}

/** The smallest number that rounds to more than the largest f16, 65504. */
const BEYOND_F16 = 65520;

/** A loop of its own, because `set` from a Float16Array is several times slower. */
function decodeHalfs(
  source: Float16Array<ArrayBuffer>,
  from: number,
  target: Floats,
  to: number,
  count: number,
): void {
  for (let i = 0; i < count; i++) target[to + i] = source[from + i];
}

function cacheArray({ data, dtype }: HostTensor): Rows {
  if (data instanceof Float32Array || data instanceof Float16Array) return data;
  if (dtype === "f8_e4m3" && data instanceof Uint8Array) return data;
  throw new KernelError(
    "kernel/cache-type",
    `Cannot use a KV cache on the CPU: expected f32, f16 or f8_e4m3, got ${dtype}`,
    { hint: "Set the cache's dtype to one of these" },
  );
}

/** Rows of the step that belong to each sequence. */
export function tokensBySequence(ids: Integers, sequences: number): Map<number, number[]> {
  const result = new Map<number, number[]>();
  ids.forEach((id, token) => {
    if (id < 0 || id >= sequences) {
      throw new KernelError(
        "kernel/sequence-id",
        `Cannot attend for token ${token}: expected a sequence from 0 to ${
          sequences - 1
        }, got ${id}`,
      );
    }
    const tokens = result.get(id);
    if (tokens) tokens.push(token);
    else result.set(id, [token]);
  });
  return result;
}

/** `cached_attention`: the step's tokens join the cache, then each looks back through its pages. */
export function cachedAttention(call: CpuCall<"cached_attention">): HostTensor[] {
  const { inputs, attrs } = call;
  const width = attrs.heads * (attrs.valueDim ?? attrs.headDim);
  const positions = integers(inputs.get("positions"));
  const projections = prepare(call, positions);
  const [table, sinks] = [inputs.get("block_table"), inputs.maybe("sinks")];
  const [sequences, pages] = table.shape;
  const step: Step = {
    ...projections,
    attrs,
    positions,
    sinks: sinks && floats(sinks),
    out: new Float32Array(positions.length * width),
  };
  for (const [id, tokens] of tokensBySequence(integers(inputs.get("sequence_ids")), sequences)) {
    const blocks = integers(table).subarray(id * pages, (id + 1) * pages);
    const sequence = new PagedSequence(call.cache(attrs.cache), attrs.cache, id, blocks);
    append(step, tokens, sequence);
    lookBack(step, tokens, sequence);
  }
  return [f32Tensor([positions.length, width], step.out)];
}

/** What the tokens of a step share. */
interface Step extends Projections {
  readonly attrs: AttrsOf<"cached_attention">;
  readonly positions: Integers;
  readonly sinks: Floats | undefined;
  readonly out: Floats;
}

/** Writes the tokens of one sequence to its pages. */
function append({ k, v, positions, attrs }: Step, tokens: number[], sequence: PagedSequence): void {
  const { kvHeads, headDim, valueDim = headDim } = attrs;
  const row = (values: Floats, t: number, width: number) =>
    values.subarray(t * width, (t + 1) * width);
  for (const t of tokens) {
    sequence.write(positions[t], row(k, t, kvHeads * headDim), row(v, t, kvHeads * valueDim));
  }
}

/** Attention of the tokens of one sequence; a key head is read once for all of them. */
function lookBack(step: Step, tokens: number[], sequence: PagedSequence): void {
  const { heads, kvHeads, headDim, valueDim = headDim, scale } = step.attrs;
  const own = tokens.map((t) => step.positions[t]);
  const first = firstSeen(Math.min(...own), step.attrs);
  const rows = own.map((position) => {
    const from = firstSeen(position, step.attrs);
    return Int32Array.from({ length: position + 1 - from }, (_, i) => from - first + i);
  });
  const group = heads / kvHeads;
  for (let kv = 0; kv < kvHeads; kv++) {
    const head = sequence.read(kv, first, Math.max(...own) + 1);
    tokens.forEach((t, i) => {
      for (let h = kv * group; h < (kv + 1) * group; h++) {
        const row = t * heads + h;
        const query = { values: step.q, start: row * headDim, scale, sink: step.sinks?.[h] };
        attend(query, head, rows[i], step.out, row * valueDim);
      }
    });
  }
}
