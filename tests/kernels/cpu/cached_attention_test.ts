import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import {
  type AttrsOf,
  type CacheDtype,
  constant,
  Graph,
  GraphBuilder,
  type HostTensor,
  MixlineError,
} from "../../../graph/mod.ts";
import { openCpuExecutor } from "../../../runtime/cpu/executor.ts";
import type { Program } from "../../../runtime/executor.ts";
import { evaluate, f32, i32, numbersOf, plainOptions, random } from "../../support/host_tensors.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

type CachedAttrs = AttrsOf<"cached_attention">;
type Floats = Float32Array<ArrayBuffer>;

/** Everything inside `cached_attention` that a model may switch on. */
interface Variant {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly window?: number;
  readonly clip?: number;
  readonly norm?: "head" | "all";
  readonly rope?: CachedAttrs["rope"];
  readonly sinks?: boolean;
}

const PAGES = 24;
const PAGE_SIZE = 4;
const EPS = 1e-5;

function attrsOf({ heads, kvHeads, headDim, window, clip, norm, rope }: Variant): CachedAttrs {
  const qkNorm = norm && { eps: EPS, over: norm };
  return { heads, kvHeads, headDim, window, clip, rope, qkNorm, cache: "cache", scale: 0.5 };
}

/** Weights of a variant by input name. */
function weightsOf(
  { heads, kvHeads, headDim, norm, rope, sinks }: Variant,
): Record<string, HostTensor> {
  const width = (count: number) => (norm === "all" ? count * headDim : headDim);
  return {
    ...(rope
      ? { inv_freq: f32([rope.rotaryDim / 2], [1, 0.2, 0.05].slice(0, rope.rotaryDim / 2)) }
      : {}),
    ...(norm ? { q_norm: random([width(heads)], 11), k_norm: random([width(kvHeads)], 12) } : {}),
    ...(sinks ? { sinks: random([heads], 13) } : {}),
  };
}

/** A program of one node; `split` passes q, k and v apart. */
async function compile(
  variant: Variant,
  dtype: CacheDtype = "f32",
  split = false,
): Promise<Program> {
  const { heads, kvHeads, headDim } = variant;
  const builder = new GraphBuilder(new Graph("cached"));
  const part = (name: string, count: number) =>
    builder.input(name, { dtype: "f32", shape: ["T", count * headDim] });
  const projections = split
    ? { q: part("q", heads), k: part("k", kvHeads), v: part("v", kvHeads) }
    : { qkv: part("qkv", heads + 2 * kvHeads) };
  const weights = Object.entries(weightsOf(variant)).map(([name, tensor]) => [
    name,
    builder.weight(name, constant(numbersOf(tensor), tensor.shape)),
  ]);
  const out = builder.op("cached_attention", {
    ...projections,
    positions: builder.input("positions", { dtype: "i32", shape: ["T"] }),
    sequence_ids: builder.input("sequence_ids", { dtype: "i32", shape: ["T"] }),
    block_table: builder.input("block_table", { dtype: "i32", shape: ["S", "P"] }),
    ...Object.fromEntries(weights),
  }, attrsOf(variant));
  builder.graph.setOutput("out", out);
  builder.graph.addCache({ name: "cache", kvHeads, headDim, dtype, pageSize: PAGE_SIZE });
  const options = { ...plainOptions(new Map()), pages: PAGES };
  return await openCpuExecutor().compile(builder.graph, options);
}

/** One sequence at once through `rms_norm`, `clamp`, `rope` and `attention`. */
async function eager(variant: Variant, qkv: HostTensor): Promise<Floats> {
  const { heads, kvHeads, headDim, clip, norm, rope, window } = variant;
  const tokens = qkv.shape[0];
  const weights = weightsOf(variant);
  const positions = i32([tokens], Array.from({ length: tokens }, (_, t) => t));
  const part = async (name: "q" | "k" | "v", first: number, count: number) => {
    const [start, end] = [first * headDim, (first + count) * headDim];
    let [values] = await evaluate("slice", { x: qkv }, { dim: 1, start, end });
    if (norm && name !== "v") {
      const shape = norm === "all" ? [tokens, count * headDim] : [tokens, count, headDim];
      [values] = await evaluate("rms_norm", { x: f32(shape, values), w: weights[`${name}_norm`] }, {
        eps: EPS,
      });
    }
    const clamp = { min: clip && -clip, max: clip };
    [values] = await evaluate("clamp", { x: f32([tokens, count, headDim], values) }, clamp);
    [values] = await evaluate("transpose", { x: f32([tokens, count, headDim], values) }, {
      dims: [0, 1],
    });
    const x = f32([count, tokens, headDim], values);
    if (!rope || name === "v") return x;
    return f32(
      x.shape,
      (await evaluate("rope", { x, positions, inv_freq: weights.inv_freq }, rope))[0],
    );
  };
  const [q, k, v] = [
    await part("q", 0, heads),
    await part("k", heads, kvHeads),
    await part("v", heads + kvHeads, kvHeads),
  ];
  const inputs = { q, k, v, positions, sinks: weights.sinks };
  const [out] = await evaluate("attention", inputs, { scale: 0.5, window });
  const [rows] = await evaluate("transpose", { x: f32([heads, tokens, headDim], out) }, {
    dims: [0, 1],
  });
  return Float32Array.from(rows);
}

/** A sequence on its way through a paged program. */
interface Lane {
  readonly qkv: HostTensor;
  readonly pages: readonly number[];
  done: number;
  readonly out: number[];
}

/** Lets each lane take `take[i]` tokens in one step. */
async function step(
  program: Program,
  lanes: readonly Lane[],
  take: readonly number[],
): Promise<void> {
  const width = Math.max(...lanes.map(({ pages }) => pages.length));
  const blockTable = new Int32Array(lanes.length * width);
  const [rows, positions, ids]: [Floats[], number[], number[]] = [[], [], []];
  lanes.forEach(({ qkv, pages, done }, lane) => {
    blockTable.set(pages, lane * width);
    const columns = qkv.shape[1];
    for (let t = done; t < Math.min(done + take[lane], qkv.shape[0]); t++) {
      rows.push(numbersOf(qkv).subarray(t * columns, (t + 1) * columns));
      positions.push(t);
      ids.push(lane);
    }
  });
  if (rows.length === 0) return;
  const { out } = await program.run({
    qkv: Float32Array.from(rows.flatMap((row) => [...row])),
    positions: Int32Array.from(positions),
    sequence_ids: Int32Array.from(ids),
    block_table: blockTable,
  }, { T: rows.length, S: lanes.length, P: width });
  const perToken = out.length / rows.length;
  ids.forEach((lane, t) => {
    lanes[lane].out.push(...out.subarray(t * perToken, (t + 1) * perToken));
    lanes[lane].done++;
  });
}

const BASE: Variant = { heads: 4, kvHeads: 2, headDim: 6 };
const HALF: CachedAttrs["rope"] = { layout: "half", rotaryDim: 6, attentionScaling: 1 };
const VARIANTS: readonly Variant[] = [
  BASE,
  { ...BASE, rope: HALF, norm: "head" },
  { ...BASE, rope: { layout: "interleaved", rotaryDim: 4, attentionScaling: 1.2 }, window: 3 },
  { ...BASE, rope: HALF, norm: "all", clip: 0.6 },
  { heads: 3, kvHeads: 3, headDim: 5, sinks: true, window: 5 },
  { heads: 6, kvHeads: 1, headDim: 4, rope: { ...HALF, rotaryDim: 2 }, sinks: true },
];

function qkvOf({ heads, kvHeads, headDim }: Variant, tokens: number, seed: number): HostTensor {
  return random([tokens, (heads + 2 * kvHeads) * headDim], seed, 2);
}

for (const variant of VARIANTS) {
  const { rope, ...rest } = variant;
  Deno.test(`cached_attention equals attention in any chunks: ${JSON.stringify({ ...rest, rope: rope?.layout })}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 14 }), { minLength: 1, maxLength: 3 }),
        fc.array(fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 3, maxLength: 3 }), {
          maxLength: 6,
        }),
        fc.shuffledSubarray([...Array(PAGES).keys()], { minLength: PAGES }),
        async (lengths, chunks, pages) => {
          const program = await compile(variant);
          let next = 0;
          const lanes = lengths.map((tokens, lane): Lane => {
            const own = pages.slice(next, next += Math.ceil(tokens / PAGE_SIZE));
            return { qkv: qkvOf(variant, tokens, lane), pages: own, done: 0, out: [] };
          });
          for (const take of chunks) await step(program, lanes, take);
          await step(program, lanes, [99, 99, 99]);
          for (const { qkv, out } of lanes) {
            const expected = await eager(variant, qkv);
            assert.ok(relativeError(out, expected) < TOLERANCES.reordered);
          }
        },
      ),
      { numRuns: 12 },
    );
  });
}

Deno.test("cached_attention gives the same bits at once, in chunks and token by token", async () => {
  const variant = VARIANTS[1];
  const results = await Promise.all([[11], [4, 4, 3], new Array(11).fill(1)].map(async (chunks) => {
    const program = await compile(variant);
    const lane: Lane = { qkv: qkvOf(variant, 11, 7), pages: [5, 0, 9], done: 0, out: [] };
    for (const chunk of chunks) await step(program, [lane], [chunk]);
    return lane.out;
  }));
  assert.deepEqual(results[1], results[0]);
  assert.deepEqual(results[2], results[0]);
});

Deno.test("cached_attention rounds to f16 in an f16 cache", async () => {
  const variant = VARIANTS[1];
  const program = await compile(variant, "f16");
  const lane: Lane = { qkv: qkvOf(variant, 9, 7), pages: [1, 2, 3], done: 0, out: [] };
  for (let t = 0; t < 9; t++) await step(program, [lane], [1]);
  const error = relativeError(lane.out, await eager(variant, lane.qkv));
  assert.ok(error > 1e-6 && error < TOLERANCES.cacheF16, `error ${error}`);
});

Deno.test("cached_attention rounds to E4M3 in an f8_e4m3 cache", async () => {
  const variant = VARIANTS[1];
  const program = await compile(variant, "f8_e4m3");
  const lane: Lane = { qkv: qkvOf(variant, 9, 7), pages: [1, 2, 3], done: 0, out: [] };
  for (let t = 0; t < 9; t++) await step(program, [lane], [1]);
  const error = relativeError(lane.out, await eager(variant, lane.qkv));
  assert.ok(error > TOLERANCES.cacheF16 && error < TOLERANCES.cacheE4m3, `error ${error}`);
});

Deno.test("cached_attention takes q, k and v apart", async () => {
  const variant = VARIANTS[3];
  const { heads, kvHeads, headDim } = variant;
  const qkv = qkvOf(variant, 3, 5);
  const program = await compile(variant, "f32", true);
  const columns = async (first: number, count: number) => {
    const [start, end] = [first * headDim, (first + count) * headDim];
    return Float32Array.from((await evaluate("slice", { x: qkv }, { dim: 1, start, end }))[0]);
  };
  const { out } = await program.run({
    q: await columns(0, heads),
    k: await columns(heads, kvHeads),
    v: await columns(heads + kvHeads, kvHeads),
    positions: Int32Array.of(0, 1, 2),
    sequence_ids: Int32Array.of(0, 0, 0),
    block_table: Int32Array.of(3),
  }, { T: 3, S: 1, P: 1 });
  assert.ok(relativeError(out, await eager(variant, qkv)) < TOLERANCES.reordered);
});

Deno.test("cached_attention never reads a page that only holds tokens out of the window", async () => {
  const variant: Variant = { ...BASE, window: 3 };
  const program = await compile(variant);
  const lane: Lane = { qkv: qkvOf(variant, 10, 3), pages: [4, 5, 6], done: 0, out: [] };
  await step(program, [lane], [9]);
  // Position 9 sees 7 to 9: page 4 (0 to 3) may belong to somebody else by now.
  await step(program, [{ ...lane, pages: [-1, 5, 6] }], [1]);
  assert.equal(lane.out.length, 10 * 24);
});

Deno.test("cached_attention names the position, sequence and cache without a page", async () => {
  const program = await compile(BASE);
  const run = (positions: number[], table: number[], ids = positions.map(() => 0)) =>
    program.run({
      qkv: new Float32Array(48 * positions.length),
      positions: Int32Array.from(positions),
      sequence_ids: Int32Array.from(ids),
      block_table: Int32Array.from(table),
    }, { T: positions.length, S: 1, P: table.length });
  const refuses = async (attempt: Promise<unknown>, code: string, message: RegExp) => {
    await assert.rejects(attempt, (error) => {
      assert.ok(error instanceof MixlineError);
      assert.equal(error.code, code);
      assert.match(error.message, message);
      return true;
    });
  };
  await refuses(
    run([4], [0]),
    "kernel/block-table",
    /position 4 of sequence 0 in cache "cache".*got none/,
  );
  await refuses(run([0], [PAGES]), "kernel/block-table", /from 0 to 23, got 24/);
  await refuses(run([0], [0], [1]), "kernel/sequence-id", /expected a sequence from 0 to 0, got 1/);
});
