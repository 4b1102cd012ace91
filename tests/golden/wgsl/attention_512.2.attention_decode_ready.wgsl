const keys_COLUMNS = 128u;
const keys_FIRST_ROW = 0u;
const values_COLUMNS = 128u;
const values_FIRST_ROW = 0u;
const HEADS = 32u;
const KV_HEADS = 4u;
const GROUP = 8u;
const D = 128u;
const PAGE = 16u;
const WINDOW = 0u;
const SCALE = 0.0883883461356163f;
const LOWEST = -3.4028234663852886e+38f;
const LONG_RUN = 8u;
const PARTS_K = 4u;
const MORE_PARTS_K = 3u;
const HG = 8u;
const HEAD_PARTS = 1u;
const UNITS = 4u;
const SPLITS = 2u;
const FRESH = false;
const FRESH_MAX = 1u;
const ONLY_SHORT_RUNS = true;
const WORDS_K = 4u;
const ROUNDS_V = 4u;
const COMBINED = 2u;
const THREADS = 256u;
const TICKET = true;

@group(0) @binding(0) var<storage, read> keys: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> values: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> positions: array<i32>;
@group(0) @binding(3) var<storage, read> sequence_ids: array<i32>;
@group(0) @binding(4) var<storage, read> block_table: array<i32>;
@group(0) @binding(5) var<uniform> step: vec4<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> partials: array<atomic<u32>>;
@group(0) @binding(8) var<storage, read_write> tickets: array<atomic<u32>>;
@group(0) @binding(9) var<storage, read> ready: array<f32>;

// Eight consecutive elements: the unit in which weights and activations are read.
struct Chunk { lo: vec4<f32>, hi: vec4<f32> }

fn chunk_dot(a: Chunk, b: Chunk) -> f32 {
  return dot(a.lo, b.lo) + dot(a.hi, b.hi);
}

fn chunk_scale(a: Chunk, factor: f32) -> Chunk {
  return Chunk(a.lo * factor, a.hi * factor);
}

// Weight rows of f16, a multiple of 8 long, bound as array<vec4<u32>>. Needs no shader-f16.
alias keys_Word = vec4<u32>;

fn keys_fetch(row: u32, word: u32) -> keys_Word {
  return keys[(row - keys_FIRST_ROW) * (keys_COLUMNS / 8u) + word];
}

fn keys_unpack(word: keys_Word, part: u32) -> Chunk {
  return Chunk(
    vec4(unpack2x16float(word.x), unpack2x16float(word.y)),
    vec4(unpack2x16float(word.z), unpack2x16float(word.w)),
  );
}

fn keys_dot(word: keys_Word, part: u32, x: Chunk) -> f32 {
  return chunk_dot(keys_unpack(word, part), x);
}

// Weight rows of f16, a multiple of 8 long, bound as array<vec4<u32>>. Needs no shader-f16.
alias values_Word = vec4<u32>;

fn values_fetch(row: u32, word: u32) -> values_Word {
  return values[(row - values_FIRST_ROW) * (values_COLUMNS / 8u) + word];
}

fn values_unpack(word: values_Word, part: u32) -> Chunk {
  return Chunk(
    vec4(unpack2x16float(word.x), unpack2x16float(word.y)),
    vec4(unpack2x16float(word.z), unpack2x16float(word.w)),
  );
}

fn values_dot(word: values_Word, part: u32, x: Chunk) -> f32 {
  return chunk_dot(values_unpack(word, part), x);
}

// What a number is after a way through the cache: steps are 2^-10 of the power of two below it, and
// 2^-24 below 2^-14; round() goes to even. (NVIDIA's compiler takes unpack2x16float of
// pack2x16float for the number itself, so the last bits of a step's own tokens stayed.)
fn cached(value: f32) -> f32 {
  let magnitude = abs(value);
  let exponent = clamp(bitcast<u32>(magnitude) >> 23u, 113u, 250u);
  let steps = round(magnitude * bitcast<f32>((264u - exponent) << 23u));
  return sign(value) * steps * bitcast<f32>((exponent - 10u) << 23u);
}

// Where the cache holds a position: row of [pages · KV_HEADS · PAGE] rows of D numbers.
fn cache_row(sequence: u32, position: u32, kv_head: u32) -> u32 {
  let page = u32(block_table[sequence * step.w + position / PAGE]);
  return (page * KV_HEADS + kv_head) * PAGE + position % PAGE;
}

// Position of the first token that the one at `position` sees.
fn first_seen(position: u32) -> u32 {
  return select(0u, position + 1u - min(WINDOW, position + 1u), WINDOW > 0u);
}

// Whether a token is one of at least LONG_RUN neighbours of the same sequence: those are attended
// to in tiles of queries, all others one by one. A step of one sequence has long runs only.
fn in_long_run(token: u32) -> bool {
  if (step.z == 1u) {
    return true;
  }
  let sequence = sequence_ids[token];
  var run = 1u;
  for (var i = token; i > 0u && run < LONG_RUN; i--) {
    if (sequence_ids[i - 1u] != sequence) {
      break;
    }
    run++;
  }
  for (var i = token + 1u; i < step.x && run < LONG_RUN; i++) {
    if (sequence_ids[i] != sequence) {
      break;
    }
    run++;
  }
  return run >= LONG_RUN;
}

fn sink_at(head: u32) -> f32 {
  return LOWEST;
}

// How the context of one token is divided among workgroups, from the token's position alone.
//
// Context in the cache: positions first..end - 1, in `splits` shares of `share` positions. With
// FRESH, tokens of this very step are not in the cache yet, or must not be read from it: `end` is
// the smallest position that the step has of this sequence, and the last split takes the rest from
// the step itself. The positions that a step has of a sequence are consecutive.
struct Span { sequence: u32, position: u32, first: u32, end: u32, share: u32, splits: u32 }

// A context of up to two tiles is not shared out: handing over takes longer than the second tile.
const UNSHARED = 2u * TILE;

fn span_of(token: u32) -> Span {
  let sequence = sequence_ids[token];
  let position = u32(positions[token]);
  var end = position + select(1u, 0u, FRESH);
  for (var i = 0u; FRESH && FRESH_MAX > 1u && i < step.x; i++) {
    if (sequence_ids[i] == sequence) {
      end = min(end, u32(positions[i]));
    }
  }
  let first = min(first_seen(position), end);
  let context = end - first;
  let even = (context + SPLITS - 1u) / SPLITS;
  let tiles = (even + TILE - 1u) / TILE * TILE;
  let share = max(select(TILE, UNSHARED, context <= UNSHARED), tiles);
  let splits = max(1u, (context + share - 1u) / share);
  return Span(u32(sequence), position, first, end, share, splits);
}

// Combines what the splits of one token and one unit (HG query heads of a key head) found.
//
// partials holds, for each (token, unit, split), HG rows of D sums, then HG peaks, then HG totals:
// all relative to the split's own peak. Order is fixed: results do not depend on who came last.
// Prelude: COMBINED, the splits that are loaded at a time.
const PARTIAL = HG * (D + 2u);

fn partial_at(token: u32, unit: u32, split: u32) -> u32 {
  return ((token * UNITS + unit) * SPLITS + split) * PARTIAL;
}

// out = Σ weights · values / (Σ weights + sink), where the weights are relative to `peak`.
fn store_result(token: u32, unit: u32, e: u32, sum: f32, peak: f32, total: f32) {
  let head = (unit / HEAD_PARTS) * GROUP + (unit % HEAD_PARTS) * HG + e / D;
  let sink = sink_at(head);
  let top = max(peak, sink);
  let factor = exp(peak - top);
  y[(token * HEADS + head) * D + e % D] = sum * factor / (total * factor + exp(sink - top));
}

fn combine(token: u32, unit: u32, splits: u32, thread: u32) {
  let base = partial_at(token, unit, 0u);
  for (var e = thread; e < HG * D; e += THREADS) {
    let rest = HG * D + e / D;
    var peak = LOWEST;
    var total = 0.0;
    var sum = 0.0;
    // So many splits at a time that one wait for memory is usually all.
    for (var s = 0u; s < splits; s += COMBINED) {
      let at_0 = base + min(s + 0, splits - 1u) * PARTIAL;
      let value_0 = load_partial(at_0 + e);
      let peak_0 = load_partial(at_0 + rest);
      let total_0 = load_partial(at_0 + rest + HG);
      let at_1 = base + min(s + 1, splits - 1u) * PARTIAL;
      let value_1 = load_partial(at_1 + e);
      let peak_1 = load_partial(at_1 + rest);
      let total_1 = load_partial(at_1 + rest + HG);
      var top = peak;
      top = max(top, peak_0);
      top = max(top, peak_1);
      let before = exp(peak - top);
      peak = top;
      total *= before;
      sum *= before;
      if (s + 0 < splits) {
        let factor = exp(peak_0 - top);
        total += factor * total_0;
        sum += factor * value_0;
      }
      if (s + 1 < splits) {
        let factor = exp(peak_1 - top);
        total += factor * total_1;
        sum += factor * value_1;
      }
    }
    store_result(token, unit, e, sum, peak, total);
  }
}

// Partial results that the last workgroup to arrive combines. Workgroups see each other's writes
// only through atomics. The one that draws the last ticket puts the count back to zero.
fn store_partial(at: u32, value: f32) {
  atomicStore(&partials[at], bitcast<u32>(value));
}

fn load_partial(at: u32) -> f32 {
  return bitcast<f32>(atomicLoad(&partials[at]));
}

fn take_ticket(i: u32, count: u32) -> u32 {
  let before = atomicAdd(&tickets[i], 1u);
  if (before + 1u == count) {
    atomicStore(&tickets[i], 0u);
  }
  return before;
}

// How keys and values of a tile of the context come from the cache to the threads.
//
// Prelude: of attention_decode. Words of a tile that one thread reads:
struct Fetched {
  key_0: keys_Word,
  key_1: keys_Word,
  key_2: keys_Word,
  key_3: keys_Word,
  value_0: values_Word,
  value_1: values_Word,
  value_2: values_Word,
  value_3: values_Word,
}

// Asks for the tile from `base` on, all pages first.
fn fetch_tile(sequence: u32, base: u32, end: u32, kv_head: u32, thread: u32) -> Fetched {
  let key_row = cache_row(sequence, min(base + thread / PARTS_K, end - 1u), kv_head);
  let value_row_0 = cache_row(
    sequence,
    min(base + thread / LANES_V + 0 * GROUPS, end - 1u),
    kv_head,
  );
  let value_row_1 = cache_row(
    sequence,
    min(base + thread / LANES_V + 1 * GROUPS, end - 1u),
    kv_head,
  );
  let value_row_2 = cache_row(
    sequence,
    min(base + thread / LANES_V + 2 * GROUPS, end - 1u),
    kv_head,
  );
  let value_row_3 = cache_row(
    sequence,
    min(base + thread / LANES_V + 3 * GROUPS, end - 1u),
    kv_head,
  );
  var fetched: Fetched;
  fetched.key_0 = keys_fetch(key_row, min(thread % PARTS_K + 0 * PARTS_K, LANES_V - 1u));
  fetched.key_1 = keys_fetch(key_row, min(thread % PARTS_K + 1 * PARTS_K, LANES_V - 1u));
  fetched.key_2 = keys_fetch(key_row, min(thread % PARTS_K + 2 * PARTS_K, LANES_V - 1u));
  fetched.key_3 = keys_fetch(key_row, min(thread % PARTS_K + 3 * PARTS_K, LANES_V - 1u));
  fetched.value_0 = values_fetch(value_row_0, thread % LANES_V);
  fetched.value_1 = values_fetch(value_row_1, thread % LANES_V);
  fetched.value_2 = values_fetch(value_row_2, thread % LANES_V);
  fetched.value_3 = values_fetch(value_row_3, thread % LANES_V);
  return fetched;
}

// What a workgroup needs before it looks at the cache: queries that `attention_append` made.
fn prepare(token: u32, unit: u32, span: Span, fresh: bool, lanes: Lanes) -> u32 {
  let first_head = (unit / HEAD_PARTS) * GROUP + (unit % HEAD_PARTS) * HG;
  for (var i = lanes.index; i < HG * D; i += THREADS) {
    queries[i / 4u][i % 4u] = ready[(token * HEADS + first_head) * D + i] * SCALE;
  }
  workgroupBarrier();
  return 0u;
}

// The threads of a workgroup, where subgroups may be used. Nothing is assumed about the size of
// subgroups but that they have 8 threads or more.
const MAX_SUBGROUPS = max(1u, THREADS / 8u);

struct Lanes {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) invocation: u32,
}

fn lanes_add(a: f32, b: f32) -> f32 {
  return a + b;
}

// Attention of single tokens over the paged cache, the context shared out to several workgroups.
//
// y [T, HEADS · D] f32
// Grid: split, unit (a key head, or a part of the query heads that share it), token.
//
// A workgroup holds the HG query heads of its unit in shared memory and walks its share of the
// context in tiles. For the scores PARTS_K threads share a token's key; for the sums LANES_V
// threads share its value, GROUPS tokens at a time, each group with a softmax of its own that is
// joined at the end: nothing but the scores passes between threads on the way. Keys and values are
// read once for all HG heads. Those of the first tile are on their way while the queries are made.
//
// With FRESH the step's own tokens are brought into the cache here as well: nobody reads them from
// there in this step (see lib/attention_span.wgsl), so one dispatch is enough. With TICKET the
// last split to arrive combines all of them; otherwise `attention_combine` does.
//
// Prelude: THREADS, PARTS_K, HEADS, KV_HEADS, GROUP, HEAD_PARTS, UNITS, HG, D, PAGE, WINDOW, SCALE,
// SPLITS, FRESH, FRESH_MAX, ONLY_SHORT_RUNS, TICKET, LOWEST, MORE_PARTS_K (PARTS_K - 1),
// WORDS_K (of a key that one thread reads), ROUNDS_V (tokens of a tile that one group takes).
// Fragments: lib/attention_*, keys_* and values_* (cache), partials.

const LANES_V = D / 8u;
const GROUPS = THREADS / LANES_V;
const TILE = THREADS / PARTS_K;
// The next tile is asked for while the scores of this one are awaited, unless results of many heads
// leave no registers for both.
const EARLY = HG <= 2u;

var<workgroup> queries: array<vec4<f32>, HG * D / 4u>;
var<workgroup> scores: array<f32, HG * THREADS>;
var<workgroup> sums: array<vec4<f32>, 2u * THREADS>;
var<workgroup> peaks: array<f32, HG * GROUPS>;
var<workgroup> totals: array<f32, HG * GROUPS>;
var<workgroup> fresh_keys: array<vec4<f32>, FRESH_MAX * D / 4u>;
var<workgroup> fresh_values: array<vec4<f32>, FRESH_MAX * D / 4u>;
var<workgroup> arrived: u32;

@compute @workgroup_size(THREADS)
fn main(lanes: Lanes, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.z;
  let unit = group.y;
  let split = group.x;
  if (ONLY_SHORT_RUNS && in_long_run(token)) {
    return;
  }
  let span = span_of(token);
  if (split >= span.splits) {
    return;
  }
  let thread = lanes.index;
  let kv_head = unit / HEAD_PARTS;
  let first = span.first + split * span.share;
  let end = min(first + span.share, span.end);
  let tiles = (max(end, first) - first + TILE - 1u) / TILE;
  var next: Fetched;
  if (tiles > 0u) {
    next = fetch_tile(span.sequence, first, end, kv_head, thread);
  }
  let fresh_count = prepare(token, unit, span, FRESH && split + 1u == span.splits, lanes);

  let part = thread % PARTS_K;
  let key = thread / PARTS_K;
  let value_group = thread / LANES_V;
  let value_lane = thread % LANES_V;
  var peak_0 = LOWEST;
  var total_0 = 0.0;
  var lo_0 = vec4<f32>();
  var hi_0 = vec4<f32>();
  var peak_1 = LOWEST;
  var total_1 = 0.0;
  var lo_1 = vec4<f32>();
  var hi_1 = vec4<f32>();
  var peak_2 = LOWEST;
  var total_2 = 0.0;
  var lo_2 = vec4<f32>();
  var hi_2 = vec4<f32>();
  var peak_3 = LOWEST;
  var total_3 = 0.0;
  var lo_3 = vec4<f32>();
  var hi_3 = vec4<f32>();
  var peak_4 = LOWEST;
  var total_4 = 0.0;
  var lo_4 = vec4<f32>();
  var hi_4 = vec4<f32>();
  var peak_5 = LOWEST;
  var total_5 = 0.0;
  var lo_5 = vec4<f32>();
  var hi_5 = vec4<f32>();
  var peak_6 = LOWEST;
  var total_6 = 0.0;
  var lo_6 = vec4<f32>();
  var hi_6 = vec4<f32>();
  var peak_7 = LOWEST;
  var total_7 = 0.0;
  var lo_7 = vec4<f32>();
  var hi_7 = vec4<f32>();

  for (var tile = 0u; tile < tiles + select(0u, 1u, fresh_count > 0u); tile++) {
    let of_step = tile == tiles;
    let base = first + tile * TILE;
    let count = select(min(TILE, end - base), fresh_count, of_step);
    let now = next;
    if (!of_step) {
      var score_0 = 0.0;
      var score_1 = 0.0;
      var score_2 = 0.0;
      var score_3 = 0.0;
      var score_4 = 0.0;
      var score_5 = 0.0;
      var score_6 = 0.0;
      var score_7 = 0.0;
      if (part + 0 * PARTS_K < LANES_V) {
        let k = keys_unpack(now.key_0, 0u);
        let chunk = part + 0 * PARTS_K;
        score_0 += chunk_dot(k, query_chunk(0, chunk));
        score_1 += chunk_dot(k, query_chunk(1, chunk));
        score_2 += chunk_dot(k, query_chunk(2, chunk));
        score_3 += chunk_dot(k, query_chunk(3, chunk));
        score_4 += chunk_dot(k, query_chunk(4, chunk));
        score_5 += chunk_dot(k, query_chunk(5, chunk));
        score_6 += chunk_dot(k, query_chunk(6, chunk));
        score_7 += chunk_dot(k, query_chunk(7, chunk));
      }
      if (part + 1 * PARTS_K < LANES_V) {
        let k = keys_unpack(now.key_1, 0u);
        let chunk = part + 1 * PARTS_K;
        score_0 += chunk_dot(k, query_chunk(0, chunk));
        score_1 += chunk_dot(k, query_chunk(1, chunk));
        score_2 += chunk_dot(k, query_chunk(2, chunk));
        score_3 += chunk_dot(k, query_chunk(3, chunk));
        score_4 += chunk_dot(k, query_chunk(4, chunk));
        score_5 += chunk_dot(k, query_chunk(5, chunk));
        score_6 += chunk_dot(k, query_chunk(6, chunk));
        score_7 += chunk_dot(k, query_chunk(7, chunk));
      }
      if (part + 2 * PARTS_K < LANES_V) {
        let k = keys_unpack(now.key_2, 0u);
        let chunk = part + 2 * PARTS_K;
        score_0 += chunk_dot(k, query_chunk(0, chunk));
        score_1 += chunk_dot(k, query_chunk(1, chunk));
        score_2 += chunk_dot(k, query_chunk(2, chunk));
        score_3 += chunk_dot(k, query_chunk(3, chunk));
        score_4 += chunk_dot(k, query_chunk(4, chunk));
        score_5 += chunk_dot(k, query_chunk(5, chunk));
        score_6 += chunk_dot(k, query_chunk(6, chunk));
        score_7 += chunk_dot(k, query_chunk(7, chunk));
      }
      if (part + 3 * PARTS_K < LANES_V) {
        let k = keys_unpack(now.key_3, 0u);
        let chunk = part + 3 * PARTS_K;
        score_0 += chunk_dot(k, query_chunk(0, chunk));
        score_1 += chunk_dot(k, query_chunk(1, chunk));
        score_2 += chunk_dot(k, query_chunk(2, chunk));
        score_3 += chunk_dot(k, query_chunk(3, chunk));
        score_4 += chunk_dot(k, query_chunk(4, chunk));
        score_5 += chunk_dot(k, query_chunk(5, chunk));
        score_6 += chunk_dot(k, query_chunk(6, chunk));
        score_7 += chunk_dot(k, query_chunk(7, chunk));
      }
      scores[0 * THREADS + thread] = score_0;
      scores[1 * THREADS + thread] = score_1;
      scores[2 * THREADS + thread] = score_2;
      scores[3 * THREADS + thread] = score_3;
      scores[4 * THREADS + thread] = score_4;
      scores[5 * THREADS + thread] = score_5;
      scores[6 * THREADS + thread] = score_6;
      scores[7 * THREADS + thread] = score_7;
      if (EARLY && tile + 1u < tiles) {
        next = fetch_tile(span.sequence, base + TILE, end, kv_head, thread);
      }
    } else if (key < count) {
      var score_0 = 0.0;
      var score_1 = 0.0;
      var score_2 = 0.0;
      var score_3 = 0.0;
      var score_4 = 0.0;
      var score_5 = 0.0;
      var score_6 = 0.0;
      var score_7 = 0.0;
      for (var chunk = part; chunk < LANES_V; chunk += PARTS_K) {
        let at = (key * LANES_V + chunk) * 2u;
        let k = Chunk(fresh_keys[at], fresh_keys[at + 1u]);
        score_0 += chunk_dot(k, query_chunk(0, chunk));
        score_1 += chunk_dot(k, query_chunk(1, chunk));
        score_2 += chunk_dot(k, query_chunk(2, chunk));
        score_3 += chunk_dot(k, query_chunk(3, chunk));
        score_4 += chunk_dot(k, query_chunk(4, chunk));
        score_5 += chunk_dot(k, query_chunk(5, chunk));
        score_6 += chunk_dot(k, query_chunk(6, chunk));
        score_7 += chunk_dot(k, query_chunk(7, chunk));
      }
      scores[0 * THREADS + thread] = score_0;
      scores[1 * THREADS + thread] = score_1;
      scores[2 * THREADS + thread] = score_2;
      scores[3 * THREADS + thread] = score_3;
      scores[4 * THREADS + thread] = score_4;
      scores[5 * THREADS + thread] = score_5;
      scores[6 * THREADS + thread] = score_6;
      scores[7 * THREADS + thread] = score_7;
    }
    workgroupBarrier();
    if (value_group < GROUPS) {
      var top_0 = peak_0;
      var top_1 = peak_1;
      var top_2 = peak_2;
      var top_3 = peak_3;
      var top_4 = peak_4;
      var top_5 = peak_5;
      var top_6 = peak_6;
      var top_7 = peak_7;
      for (var j = value_group; j < count; j += GROUPS) {
        top_0 = max(top_0, score_at(0, j));
        top_1 = max(top_1, score_at(1, j));
        top_2 = max(top_2, score_at(2, j));
        top_3 = max(top_3, score_at(3, j));
        top_4 = max(top_4, score_at(4, j));
        top_5 = max(top_5, score_at(5, j));
        top_6 = max(top_6, score_at(6, j));
        top_7 = max(top_7, score_at(7, j));
      }
      {
        let factor = exp(peak_0 - top_0);
        peak_0 = top_0;
        total_0 *= factor;
        lo_0 *= factor;
        hi_0 *= factor;
      }
      {
        let factor = exp(peak_1 - top_1);
        peak_1 = top_1;
        total_1 *= factor;
        lo_1 *= factor;
        hi_1 *= factor;
      }
      {
        let factor = exp(peak_2 - top_2);
        peak_2 = top_2;
        total_2 *= factor;
        lo_2 *= factor;
        hi_2 *= factor;
      }
      {
        let factor = exp(peak_3 - top_3);
        peak_3 = top_3;
        total_3 *= factor;
        lo_3 *= factor;
        hi_3 *= factor;
      }
      {
        let factor = exp(peak_4 - top_4);
        peak_4 = top_4;
        total_4 *= factor;
        lo_4 *= factor;
        hi_4 *= factor;
      }
      {
        let factor = exp(peak_5 - top_5);
        peak_5 = top_5;
        total_5 *= factor;
        lo_5 *= factor;
        hi_5 *= factor;
      }
      {
        let factor = exp(peak_6 - top_6);
        peak_6 = top_6;
        total_6 *= factor;
        lo_6 *= factor;
        hi_6 *= factor;
      }
      {
        let factor = exp(peak_7 - top_7);
        peak_7 = top_7;
        total_7 *= factor;
        lo_7 *= factor;
        hi_7 *= factor;
      }
      {
        let j = value_group + 0 * GROUPS;
        if (j < count) {
          var v = values_unpack(now.value_0, 0u);
          if (of_step) {
            let at = (j * LANES_V + value_lane) * 2u;
            v = Chunk(fresh_values[at], fresh_values[at + 1u]);
          }
          {
            let weight = exp(score_at(0, j) - peak_0);
            total_0 += weight;
            lo_0 += weight * v.lo;
            hi_0 += weight * v.hi;
          }
          {
            let weight = exp(score_at(1, j) - peak_1);
            total_1 += weight;
            lo_1 += weight * v.lo;
            hi_1 += weight * v.hi;
          }
          {
            let weight = exp(score_at(2, j) - peak_2);
            total_2 += weight;
            lo_2 += weight * v.lo;
            hi_2 += weight * v.hi;
          }
          {
            let weight = exp(score_at(3, j) - peak_3);
            total_3 += weight;
            lo_3 += weight * v.lo;
            hi_3 += weight * v.hi;
          }
          {
            let weight = exp(score_at(4, j) - peak_4);
            total_4 += weight;
            lo_4 += weight * v.lo;
            hi_4 += weight * v.hi;
          }
          {
            let weight = exp(score_at(5, j) - peak_5);
            total_5 += weight;
            lo_5 += weight * v.lo;
            hi_5 += weight * v.hi;
          }
          {
            let weight = exp(score_at(6, j) - peak_6);
            total_6 += weight;
            lo_6 += weight * v.lo;
            hi_6 += weight * v.hi;
          }
          {
            let weight = exp(score_at(7, j) - peak_7);
            total_7 += weight;
            lo_7 += weight * v.lo;
            hi_7 += weight * v.hi;
          }
        }
      }
      {
        let j = value_group + 1 * GROUPS;
        if (j < count) {
          var v = values_unpack(now.value_1, 0u);
          if (of_step) {
            let at = (j * LANES_V + value_lane) * 2u;
            v = Chunk(fresh_values[at], fresh_values[at + 1u]);
          }
          {
            let weight = exp(score_at(0, j) - peak_0);
            total_0 += weight;
            lo_0 += weight * v.lo;
            hi_0 += weight * v.hi;
          }
          {
            let weight = exp(score_at(1, j) - peak_1);
            total_1 += weight;
            lo_1 += weight * v.lo;
            hi_1 += weight * v.hi;
          }
          {
            let weight = exp(score_at(2, j) - peak_2);
            total_2 += weight;
            lo_2 += weight * v.lo;
            hi_2 += weight * v.hi;
          }
          {
            let weight = exp(score_at(3, j) - peak_3);
            total_3 += weight;
            lo_3 += weight * v.lo;
            hi_3 += weight * v.hi;
          }
          {
            let weight = exp(score_at(4, j) - peak_4);
            total_4 += weight;
            lo_4 += weight * v.lo;
            hi_4 += weight * v.hi;
          }
          {
            let weight = exp(score_at(5, j) - peak_5);
            total_5 += weight;
            lo_5 += weight * v.lo;
            hi_5 += weight * v.hi;
          }
          {
            let weight = exp(score_at(6, j) - peak_6);
            total_6 += weight;
            lo_6 += weight * v.lo;
            hi_6 += weight * v.hi;
          }
          {
            let weight = exp(score_at(7, j) - peak_7);
            total_7 += weight;
            lo_7 += weight * v.lo;
            hi_7 += weight * v.hi;
          }
        }
      }
      {
        let j = value_group + 2 * GROUPS;
        if (j < count) {
          var v = values_unpack(now.value_2, 0u);
          if (of_step) {
            let at = (j * LANES_V + value_lane) * 2u;
            v = Chunk(fresh_values[at], fresh_values[at + 1u]);
          }
          {
            let weight = exp(score_at(0, j) - peak_0);
            total_0 += weight;
            lo_0 += weight * v.lo;
            hi_0 += weight * v.hi;
          }
          {
            let weight = exp(score_at(1, j) - peak_1);
            total_1 += weight;
            lo_1 += weight * v.lo;
            hi_1 += weight * v.hi;
          }
          {
            let weight = exp(score_at(2, j) - peak_2);
            total_2 += weight;
            lo_2 += weight * v.lo;
            hi_2 += weight * v.hi;
          }
          {
            let weight = exp(score_at(3, j) - peak_3);
            total_3 += weight;
            lo_3 += weight * v.lo;
            hi_3 += weight * v.hi;
          }
          {
            let weight = exp(score_at(4, j) - peak_4);
            total_4 += weight;
            lo_4 += weight * v.lo;
            hi_4 += weight * v.hi;
          }
          {
            let weight = exp(score_at(5, j) - peak_5);
            total_5 += weight;
            lo_5 += weight * v.lo;
            hi_5 += weight * v.hi;
          }
          {
            let weight = exp(score_at(6, j) - peak_6);
            total_6 += weight;
            lo_6 += weight * v.lo;
            hi_6 += weight * v.hi;
          }
          {
            let weight = exp(score_at(7, j) - peak_7);
            total_7 += weight;
            lo_7 += weight * v.lo;
            hi_7 += weight * v.hi;
          }
        }
      }
      {
        let j = value_group + 3 * GROUPS;
        if (j < count) {
          var v = values_unpack(now.value_3, 0u);
          if (of_step) {
            let at = (j * LANES_V + value_lane) * 2u;
            v = Chunk(fresh_values[at], fresh_values[at + 1u]);
          }
          {
            let weight = exp(score_at(0, j) - peak_0);
            total_0 += weight;
            lo_0 += weight * v.lo;
            hi_0 += weight * v.hi;
          }
          {
            let weight = exp(score_at(1, j) - peak_1);
            total_1 += weight;
            lo_1 += weight * v.lo;
            hi_1 += weight * v.hi;
          }
          {
            let weight = exp(score_at(2, j) - peak_2);
            total_2 += weight;
            lo_2 += weight * v.lo;
            hi_2 += weight * v.hi;
          }
          {
            let weight = exp(score_at(3, j) - peak_3);
            total_3 += weight;
            lo_3 += weight * v.lo;
            hi_3 += weight * v.hi;
          }
          {
            let weight = exp(score_at(4, j) - peak_4);
            total_4 += weight;
            lo_4 += weight * v.lo;
            hi_4 += weight * v.hi;
          }
          {
            let weight = exp(score_at(5, j) - peak_5);
            total_5 += weight;
            lo_5 += weight * v.lo;
            hi_5 += weight * v.hi;
          }
          {
            let weight = exp(score_at(6, j) - peak_6);
            total_6 += weight;
            lo_6 += weight * v.lo;
            hi_6 += weight * v.hi;
          }
          {
            let weight = exp(score_at(7, j) - peak_7);
            total_7 += weight;
            lo_7 += weight * v.lo;
            hi_7 += weight * v.hi;
          }
        }
      }
    }
    if (!EARLY && tile + 1u < tiles) {
      next = fetch_tile(span.sequence, base + TILE, end, kv_head, thread);
    }
    workgroupBarrier();
  }

  // The groups' sums of each head are brought to a common peak and added in order.
  if (value_lane == 0u && value_group < GROUPS) {
    peaks[0 * GROUPS + value_group] = peak_0;
    totals[0 * GROUPS + value_group] = total_0;
    peaks[1 * GROUPS + value_group] = peak_1;
    totals[1 * GROUPS + value_group] = total_1;
    peaks[2 * GROUPS + value_group] = peak_2;
    totals[2 * GROUPS + value_group] = total_2;
    peaks[3 * GROUPS + value_group] = peak_3;
    totals[3 * GROUPS + value_group] = total_3;
    peaks[4 * GROUPS + value_group] = peak_4;
    totals[4 * GROUPS + value_group] = total_4;
    peaks[5 * GROUPS + value_group] = peak_5;
    totals[5 * GROUPS + value_group] = total_5;
    peaks[6 * GROUPS + value_group] = peak_6;
    totals[6 * GROUPS + value_group] = total_6;
    peaks[7 * GROUPS + value_group] = peak_7;
    totals[7 * GROUPS + value_group] = total_7;
  }
  let base = partial_at(token, unit, split);
  {
    if (0 > 0) {
      workgroupBarrier();
    }
    if (value_group < GROUPS) {
      sums[(2u * value_group) * LANES_V + value_lane] = lo_0;
      sums[(2u * value_group + 1u) * LANES_V + value_lane] = hi_0;
    }
    workgroupBarrier();
    if (thread < 2u * LANES_V) {
      var peak = LOWEST;
      for (var g = 0u; g < GROUPS; g++) {
        peak = max(peak, peaks[0 * GROUPS + g]);
      }
      var total = 0.0;
      var sum = vec4<f32>();
      for (var g = 0u; g < GROUPS; g++) {
        let factor = exp(peaks[0 * GROUPS + g] - peak);
        total += factor * totals[0 * GROUPS + g];
        sum += factor * sums[2u * g * LANES_V + thread];
      }
      let e = 0 * D + (thread % LANES_V) * 8u + (thread / LANES_V) * 4u;
      if (span.splits == 1u) {
        store_result(token, unit, e + 0, sum[0], peak, total);
      } else {
        store_partial(base + e + 0, sum[0]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 1, sum[1], peak, total);
      } else {
        store_partial(base + e + 1, sum[1]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 2, sum[2], peak, total);
      } else {
        store_partial(base + e + 2, sum[2]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 3, sum[3], peak, total);
      } else {
        store_partial(base + e + 3, sum[3]);
      }
      if (span.splits > 1u && thread == 0u) {
        store_partial(base + HG * D + 0, peak);
        store_partial(base + HG * D + HG + 0, total);
      }
    }
  }
  {
    if (1 > 0) {
      workgroupBarrier();
    }
    if (value_group < GROUPS) {
      sums[(2u * value_group) * LANES_V + value_lane] = lo_1;
      sums[(2u * value_group + 1u) * LANES_V + value_lane] = hi_1;
    }
    workgroupBarrier();
    if (thread < 2u * LANES_V) {
      var peak = LOWEST;
      for (var g = 0u; g < GROUPS; g++) {
        peak = max(peak, peaks[1 * GROUPS + g]);
      }
      var total = 0.0;
      var sum = vec4<f32>();
      for (var g = 0u; g < GROUPS; g++) {
        let factor = exp(peaks[1 * GROUPS + g] - peak);
        total += factor * totals[1 * GROUPS + g];
        sum += factor * sums[2u * g * LANES_V + thread];
      }
      let e = 1 * D + (thread % LANES_V) * 8u + (thread / LANES_V) * 4u;
      if (span.splits == 1u) {
        store_result(token, unit, e + 0, sum[0], peak, total);
      } else {
        store_partial(base + e + 0, sum[0]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 1, sum[1], peak, total);
      } else {
        store_partial(base + e + 1, sum[1]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 2, sum[2], peak, total);
      } else {
        store_partial(base + e + 2, sum[2]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 3, sum[3], peak, total);
      } else {
        store_partial(base + e + 3, sum[3]);
      }
      if (span.splits > 1u && thread == 0u) {
        store_partial(base + HG * D + 1, peak);
        store_partial(base + HG * D + HG + 1, total);
      }
    }
  }
  {
    if (2 > 0) {
      workgroupBarrier();
    }
    if (value_group < GROUPS) {
      sums[(2u * value_group) * LANES_V + value_lane] = lo_2;
      sums[(2u * value_group + 1u) * LANES_V + value_lane] = hi_2;
    }
    workgroupBarrier();
    if (thread < 2u * LANES_V) {
      var peak = LOWEST;
      for (var g = 0u; g < GROUPS; g++) {
        peak = max(peak, peaks[2 * GROUPS + g]);
      }
      var total = 0.0;
      var sum = vec4<f32>();
      for (var g = 0u; g < GROUPS; g++) {
        let factor = exp(peaks[2 * GROUPS + g] - peak);
        total += factor * totals[2 * GROUPS + g];
        sum += factor * sums[2u * g * LANES_V + thread];
      }
      let e = 2 * D + (thread % LANES_V) * 8u + (thread / LANES_V) * 4u;
      if (span.splits == 1u) {
        store_result(token, unit, e + 0, sum[0], peak, total);
      } else {
        store_partial(base + e + 0, sum[0]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 1, sum[1], peak, total);
      } else {
        store_partial(base + e + 1, sum[1]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 2, sum[2], peak, total);
      } else {
        store_partial(base + e + 2, sum[2]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 3, sum[3], peak, total);
      } else {
        store_partial(base + e + 3, sum[3]);
      }
      if (span.splits > 1u && thread == 0u) {
        store_partial(base + HG * D + 2, peak);
        store_partial(base + HG * D + HG + 2, total);
      }
    }
  }
  {
    if (3 > 0) {
      workgroupBarrier();
    }
    if (value_group < GROUPS) {
      sums[(2u * value_group) * LANES_V + value_lane] = lo_3;
      sums[(2u * value_group + 1u) * LANES_V + value_lane] = hi_3;
    }
    workgroupBarrier();
    if (thread < 2u * LANES_V) {
      var peak = LOWEST;
      for (var g = 0u; g < GROUPS; g++) {
        peak = max(peak, peaks[3 * GROUPS + g]);
      }
      var total = 0.0;
      var sum = vec4<f32>();
      for (var g = 0u; g < GROUPS; g++) {
        let factor = exp(peaks[3 * GROUPS + g] - peak);
        total += factor * totals[3 * GROUPS + g];
        sum += factor * sums[2u * g * LANES_V + thread];
      }
      let e = 3 * D + (thread % LANES_V) * 8u + (thread / LANES_V) * 4u;
      if (span.splits == 1u) {
        store_result(token, unit, e + 0, sum[0], peak, total);
      } else {
        store_partial(base + e + 0, sum[0]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 1, sum[1], peak, total);
      } else {
        store_partial(base + e + 1, sum[1]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 2, sum[2], peak, total);
      } else {
        store_partial(base + e + 2, sum[2]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 3, sum[3], peak, total);
      } else {
        store_partial(base + e + 3, sum[3]);
      }
      if (span.splits > 1u && thread == 0u) {
        store_partial(base + HG * D + 3, peak);
        store_partial(base + HG * D + HG + 3, total);
      }
    }
  }
  {
    if (4 > 0) {
      workgroupBarrier();
    }
    if (value_group < GROUPS) {
      sums[(2u * value_group) * LANES_V + value_lane] = lo_4;
      sums[(2u * value_group + 1u) * LANES_V + value_lane] = hi_4;
    }
    workgroupBarrier();
    if (thread < 2u * LANES_V) {
      var peak = LOWEST;
      for (var g = 0u; g < GROUPS; g++) {
        peak = max(peak, peaks[4 * GROUPS + g]);
      }
      var total = 0.0;
      var sum = vec4<f32>();
      for (var g = 0u; g < GROUPS; g++) {
        let factor = exp(peaks[4 * GROUPS + g] - peak);
        total += factor * totals[4 * GROUPS + g];
        sum += factor * sums[2u * g * LANES_V + thread];
      }
      let e = 4 * D + (thread % LANES_V) * 8u + (thread / LANES_V) * 4u;
      if (span.splits == 1u) {
        store_result(token, unit, e + 0, sum[0], peak, total);
      } else {
        store_partial(base + e + 0, sum[0]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 1, sum[1], peak, total);
      } else {
        store_partial(base + e + 1, sum[1]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 2, sum[2], peak, total);
      } else {
        store_partial(base + e + 2, sum[2]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 3, sum[3], peak, total);
      } else {
        store_partial(base + e + 3, sum[3]);
      }
      if (span.splits > 1u && thread == 0u) {
        store_partial(base + HG * D + 4, peak);
        store_partial(base + HG * D + HG + 4, total);
      }
    }
  }
  {
    if (5 > 0) {
      workgroupBarrier();
    }
    if (value_group < GROUPS) {
      sums[(2u * value_group) * LANES_V + value_lane] = lo_5;
      sums[(2u * value_group + 1u) * LANES_V + value_lane] = hi_5;
    }
    workgroupBarrier();
    if (thread < 2u * LANES_V) {
      var peak = LOWEST;
      for (var g = 0u; g < GROUPS; g++) {
        peak = max(peak, peaks[5 * GROUPS + g]);
      }
      var total = 0.0;
      var sum = vec4<f32>();
      for (var g = 0u; g < GROUPS; g++) {
        let factor = exp(peaks[5 * GROUPS + g] - peak);
        total += factor * totals[5 * GROUPS + g];
        sum += factor * sums[2u * g * LANES_V + thread];
      }
      let e = 5 * D + (thread % LANES_V) * 8u + (thread / LANES_V) * 4u;
      if (span.splits == 1u) {
        store_result(token, unit, e + 0, sum[0], peak, total);
      } else {
        store_partial(base + e + 0, sum[0]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 1, sum[1], peak, total);
      } else {
        store_partial(base + e + 1, sum[1]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 2, sum[2], peak, total);
      } else {
        store_partial(base + e + 2, sum[2]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 3, sum[3], peak, total);
      } else {
        store_partial(base + e + 3, sum[3]);
      }
      if (span.splits > 1u && thread == 0u) {
        store_partial(base + HG * D + 5, peak);
        store_partial(base + HG * D + HG + 5, total);
      }
    }
  }
  {
    if (6 > 0) {
      workgroupBarrier();
    }
    if (value_group < GROUPS) {
      sums[(2u * value_group) * LANES_V + value_lane] = lo_6;
      sums[(2u * value_group + 1u) * LANES_V + value_lane] = hi_6;
    }
    workgroupBarrier();
    if (thread < 2u * LANES_V) {
      var peak = LOWEST;
      for (var g = 0u; g < GROUPS; g++) {
        peak = max(peak, peaks[6 * GROUPS + g]);
      }
      var total = 0.0;
      var sum = vec4<f32>();
      for (var g = 0u; g < GROUPS; g++) {
        let factor = exp(peaks[6 * GROUPS + g] - peak);
        total += factor * totals[6 * GROUPS + g];
        sum += factor * sums[2u * g * LANES_V + thread];
      }
      let e = 6 * D + (thread % LANES_V) * 8u + (thread / LANES_V) * 4u;
      if (span.splits == 1u) {
        store_result(token, unit, e + 0, sum[0], peak, total);
      } else {
        store_partial(base + e + 0, sum[0]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 1, sum[1], peak, total);
      } else {
        store_partial(base + e + 1, sum[1]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 2, sum[2], peak, total);
      } else {
        store_partial(base + e + 2, sum[2]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 3, sum[3], peak, total);
      } else {
        store_partial(base + e + 3, sum[3]);
      }
      if (span.splits > 1u && thread == 0u) {
        store_partial(base + HG * D + 6, peak);
        store_partial(base + HG * D + HG + 6, total);
      }
    }
  }
  {
    if (7 > 0) {
      workgroupBarrier();
    }
    if (value_group < GROUPS) {
      sums[(2u * value_group) * LANES_V + value_lane] = lo_7;
      sums[(2u * value_group + 1u) * LANES_V + value_lane] = hi_7;
    }
    workgroupBarrier();
    if (thread < 2u * LANES_V) {
      var peak = LOWEST;
      for (var g = 0u; g < GROUPS; g++) {
        peak = max(peak, peaks[7 * GROUPS + g]);
      }
      var total = 0.0;
      var sum = vec4<f32>();
      for (var g = 0u; g < GROUPS; g++) {
        let factor = exp(peaks[7 * GROUPS + g] - peak);
        total += factor * totals[7 * GROUPS + g];
        sum += factor * sums[2u * g * LANES_V + thread];
      }
      let e = 7 * D + (thread % LANES_V) * 8u + (thread / LANES_V) * 4u;
      if (span.splits == 1u) {
        store_result(token, unit, e + 0, sum[0], peak, total);
      } else {
        store_partial(base + e + 0, sum[0]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 1, sum[1], peak, total);
      } else {
        store_partial(base + e + 1, sum[1]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 2, sum[2], peak, total);
      } else {
        store_partial(base + e + 2, sum[2]);
      }
      if (span.splits == 1u) {
        store_result(token, unit, e + 3, sum[3], peak, total);
      } else {
        store_partial(base + e + 3, sum[3]);
      }
      if (span.splits > 1u && thread == 0u) {
        store_partial(base + HG * D + 7, peak);
        store_partial(base + HG * D + HG + 7, total);
      }
    }
  }
  if (!TICKET || span.splits == 1u) {
    return;
  }
  storageBarrier();
  if (thread == 0u) {
    arrived = take_ticket(token * UNITS + unit, span.splits);
  }
  if (workgroupUniformLoad(&arrived) + 1u == span.splits) {
    storageBarrier();
    combine(token, unit, span.splits, thread);
  }
}

fn query_chunk(h: u32, chunk: u32) -> Chunk {
  let at = (h * LANES_V + chunk) * 2u;
  return Chunk(queries[at], queries[at + 1u]);
}

fn score_at(h: u32, j: u32) -> f32 {
  let at = h * THREADS + j * PARTS_K;
  var sum = scores[at];
  sum += scores[at + 1u + 0];
  sum += scores[at + 1u + 1];
  sum += scores[at + 1u + 2];
  return sum;
}
