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

fn keys_unpack(word: keys_Word, chunk: u32) -> Chunk {
  return Chunk(
    vec4(unpack2x16float(word.x), unpack2x16float(word.y)),
    vec4(unpack2x16float(word.z), unpack2x16float(word.w)),
  );
}

fn keys_dot(word: keys_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot(keys_unpack(word, chunk), x);
}

// Weight rows of f16, a multiple of 8 long, bound as array<vec4<u32>>. Needs no shader-f16.
alias values_Word = vec4<u32>;

fn values_fetch(row: u32, word: u32) -> values_Word {
  return values[(row - values_FIRST_ROW) * (values_COLUMNS / 8u) + word];
}

fn values_unpack(word: values_Word, chunk: u32) -> Chunk {
  return Chunk(
    vec4(unpack2x16float(word.x), unpack2x16float(word.y)),
    vec4(unpack2x16float(word.z), unpack2x16float(word.w)),
  );
}

fn values_dot(word: values_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot(values_unpack(word, chunk), x);
}

// What a number is after a way through the cache: steps are 2^-10 of the power of two below it, and
// 2^-24 below 2^-14; round() goes to even. (NVIDIA's compiler takes unpack2x16float of
// pack2x16float for the number itself, so the last bits of a step's own tokens stayed.)
fn cached(value: f32) -> f32 {
  let magnitude = abs(value);
  let exponent = clamp(bitcast<u32>(magnitude) >> 23u, 113u, 250u);
  let steps = round(magnitude * bitcast<f32>((264u - exponent) << 23u));
  let rounded = sign(value) * steps * bitcast<f32>((exponent - 10u) << 23u);
  return bitcast<f32>(select(bitcast<u32>(rounded), 0x7fc00000u, magnitude >= 65520.0));
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
// COMBINED splits are loaded at a time.
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
      //@repeat u COMBINED
      let at_$u = base + min(s + $u, splits - 1u) * PARTIAL;
      let value_$u = load_partial(at_$u + e);
      let peak_$u = load_partial(at_$u + rest);
      let total_$u = load_partial(at_$u + rest + HG);
      //@end
      var top = peak;
      //@repeat u COMBINED
      top = max(top, peak_$u);
      //@end
      let before = exp(peak - top);
      peak = top;
      total *= before;
      sum *= before;
      //@repeat u COMBINED
      if (s + $u < splits) {
        let factor = exp(peak_$u - top);
        total += factor * total_$u;
        sum += factor * value_$u;
      }
      //@end
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

// Words of a tile that one thread reads.
struct Fetched {
  //@repeat w WORDS_K
  key_$w: keys_Word,
  //@end
  //@repeat u ROUNDS_V
  value_$u: values_Word,
  //@end
}

// Asks for the tile from `base` on, all pages first.
fn fetch_tile(sequence: u32, base: u32, end: u32, kv_head: u32, thread: u32) -> Fetched {
  let key_row = cache_row(sequence, min(base + thread / PARTS_K, end - 1u), kv_head);
  //@repeat u ROUNDS_V
  let value_row_$u = cache_row(
    sequence,
    min(base + thread / LANES_V + $u * GROUPS, end - 1u),
    kv_head,
  );
  //@end
  var fetched: Fetched;
  //@repeat w WORDS_K
  fetched.key_$w = keys_fetch(key_row, min(thread % PARTS_K + $w * PARTS_K, LANES_V - 1u));
  //@end
  //@repeat u ROUNDS_V
  fetched.value_$u = values_fetch(value_row_$u, thread % LANES_V);
  //@end
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

// The invocations of a workgroup, where subgroups may be used. Nothing is assumed about the size of
// subgroups but that they have 8 invocations or more.
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
// there in this step (see span.wgsl), so one dispatch is enough. With TICKET the
// last split to arrive combines all of them; otherwise `attention_combine` does.
//
// MORE_PARTS_K is PARTS_K - 1, WORDS_K the words of a key that one thread reads, ROUNDS_V the tokens of
// a tile that one group takes.

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
  //@repeat h HG
  var peak_$h = LOWEST;
  var total_$h = 0.0;
  var lo_$h = vec4<f32>();
  var hi_$h = vec4<f32>();
  //@end

  for (var tile = 0u; tile < tiles + select(0u, 1u, fresh_count > 0u); tile++) {
    let of_step = tile == tiles;
    let base = first + tile * TILE;
    let count = select(min(TILE, end - base), fresh_count, of_step);
    let now = next;
    if (!of_step) {
      //@repeat h HG
      var score_$h = 0.0;
      //@end
      //@repeat w WORDS_K
      if (part + $w * PARTS_K < LANES_V) {
        let k = keys_unpack(now.key_$w, 0u);
        let chunk = part + $w * PARTS_K;
        //@repeat h HG
        score_$h += chunk_dot(k, query_chunk($h, chunk));
        //@end
      }
      //@end
      //@repeat h HG
      scores[$h * THREADS + thread] = score_$h;
      //@end
      if (EARLY && tile + 1u < tiles) {
        next = fetch_tile(span.sequence, base + TILE, end, kv_head, thread);
      }
    } else if (key < count) {
      //@repeat h HG
      var score_$h = 0.0;
      //@end
      for (var chunk = part; chunk < LANES_V; chunk += PARTS_K) {
        let at = (key * LANES_V + chunk) * 2u;
        let k = Chunk(fresh_keys[at], fresh_keys[at + 1u]);
        //@repeat h HG
        score_$h += chunk_dot(k, query_chunk($h, chunk));
        //@end
      }
      //@repeat h HG
      scores[$h * THREADS + thread] = score_$h;
      //@end
    }
    workgroupBarrier();
    if (value_group < GROUPS) {
      //@repeat h HG
      var top_$h = peak_$h;
      //@end
      for (var j = value_group; j < count; j += GROUPS) {
        //@repeat h HG
        top_$h = max(top_$h, score_at($h, j));
        //@end
      }
      //@repeat h HG
      {
        let factor = exp(peak_$h - top_$h);
        peak_$h = top_$h;
        total_$h *= factor;
        lo_$h *= factor;
        hi_$h *= factor;
      }
      //@end
      //@repeat u ROUNDS_V
      {
        let j = value_group + $u * GROUPS;
        if (j < count) {
          var v = values_unpack(now.value_$u, 0u);
          if (of_step) {
            let at = (j * LANES_V + value_lane) * 2u;
            v = Chunk(fresh_values[at], fresh_values[at + 1u]);
          }
          //@repeat h HG
          {
            let weight = exp(score_at($h, j) - peak_$h);
            total_$h += weight;
            lo_$h += weight * v.lo;
            hi_$h += weight * v.hi;
          }
          //@end
        }
      }
      //@end
    }
    if (!EARLY && tile + 1u < tiles) {
      next = fetch_tile(span.sequence, base + TILE, end, kv_head, thread);
    }
    workgroupBarrier();
  }

  // The groups' sums of each head are brought to a common peak and added in order.
  if (value_lane == 0u && value_group < GROUPS) {
    //@repeat h HG
    peaks[$h * GROUPS + value_group] = peak_$h;
    totals[$h * GROUPS + value_group] = total_$h;
    //@end
  }
  let base = partial_at(token, unit, split);
  //@repeat h HG
  {
    if ($h > 0) {
      workgroupBarrier();
    }
    if (value_group < GROUPS) {
      sums[(2u * value_group) * LANES_V + value_lane] = lo_$h;
      sums[(2u * value_group + 1u) * LANES_V + value_lane] = hi_$h;
    }
    workgroupBarrier();
    if (thread < 2u * LANES_V) {
      var peak = LOWEST;
      for (var g = 0u; g < GROUPS; g++) {
        peak = max(peak, peaks[$h * GROUPS + g]);
      }
      var total = 0.0;
      var sum = vec4<f32>();
      for (var g = 0u; g < GROUPS; g++) {
        let factor = exp(peaks[$h * GROUPS + g] - peak);
        total += factor * totals[$h * GROUPS + g];
        sum += factor * sums[2u * g * LANES_V + thread];
      }
      let e = $h * D + (thread % LANES_V) * 8u + (thread / LANES_V) * 4u;
      //@repeat i 4
      if (span.splits == 1u) {
        store_result(token, unit, e + $i, sum[$i], peak, total);
      } else {
        store_partial(base + e + $i, sum[$i]);
      }
      //@end
      if (span.splits > 1u && thread == 0u) {
        store_partial(base + HG * D + $h, peak);
        store_partial(base + HG * D + HG + $h, total);
      }
    }
  }
  //@end
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
  //@repeat p MORE_PARTS_K
  sum += scores[at + 1u + $p];
  //@end
  return sum;
}
