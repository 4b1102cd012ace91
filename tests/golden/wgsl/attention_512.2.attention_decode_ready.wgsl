const keys_COLUMNS = 128u;
const keys_FIRST_ROW = 0u;
const values_COLUMNS = 128u;
const values_FIRST_ROW = 0u;
const HEADS = 32u;
const GROUP = 8u;
const D = 128u;
const KV_HEADS = 4u;
const PAGE = 16u;
const WINDOW = 0u;
const LONG_RUN = 8u;
const SCALE = 0.0883883461356163f;
const LOWEST = -3.4028234663852886e+38f;
const COMBINED = 8u;
const HG = 4u;
const HEAD_UNITS = 2u;
const UNITS = 8u;
const SPLITS = 32u;
const FRESH = false;
const FRESH_MAX = 1u;
const ONLY_SHORT_RUNS = true;
const LANES = 16u;
const STEPS = 4u;
const GROUPS = 8u;
const JOINED = 2u;
const JOINS = 1u;
const PARTIES = 4u;
const UNROLL = 2u;
const TURN = 16u;
const LEAST_SHARE = 64u;
const CHUNKS = 1u;
const AHEAD = false;
const INVOCATIONS = 128u;
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

// Tokens of a step that has this one. Mesa's software adapter compiles a shader anew in every dispatch where
// a loop ends at a number of a uniform buffer alone; this one depends on the invocation too.
fn step_tokens(token: u32) -> u32 {
  return max(step.x, token + 1u);
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
  let end = step_tokens(token);
  for (var i = token + 1u; i < end && run < LONG_RUN; i++) {
    if (sequence_ids[i] != sequence) {
      break;
    }
    run++;
  }
  return run >= LONG_RUN;
}

fn sink_at(i: u32) -> f32 {
  return -3.4028234663852886e+38f;
}

// Where results go. partials holds, for each (token, unit, split), HG rows of D sums, then HG
// peaks, then HG totals: all relative to the split's own peak.
const PARTIAL = HG * (D + 2u);

fn partial_at(token: u32, unit: u32, split: u32) -> u32 {
  return ((token * UNITS + unit) * SPLITS + split) * PARTIAL;
}

// What sums of a head are multiplied with: out = Σ weights · values / (Σ weights + sink), where the
// weights are relative to `peak`.
fn gain_of(head: u32, peak: f32, total: f32) -> f32 {
  let sink = sink_at(head);
  let top = max(peak, sink);
  let factor = exp(peak - top);
  return factor / (total * factor + exp(sink - top));
}

// Head of a unit's head.
fn head_of(unit: u32, h: u32) -> u32 {
  return (unit / HEAD_UNITS) * GROUP + (unit % HEAD_UNITS) * HG + h;
}

fn store_result(token: u32, unit: u32, e: u32, sum: f32, peak: f32, total: f32) {
  let head = head_of(unit, e / D);
  y[(token * HEADS + head) * D + e % D] = sum * gain_of(head, peak, total);
}

// Combines what the splits of one token and one unit found, in order: first the weight of every
// split in workgroup memory, then each invocation its numbers. Little text, because a kernel that
// has not run for a while comes from memory too. COMBINED splits are loaded at a time.
var<workgroup> split_peaks: array<f32, HG * SPLITS>;
var<workgroup> split_totals: array<f32, HG * SPLITS>;

fn combine(token: u32, unit: u32, splits: u32, index: u32) {
  let base = partial_at(token, unit, 0u);
  for (var i = index; i < HG * splits; i += INVOCATIONS) {
    let at = base + (i % splits) * PARTIAL + HG * D + i / splits;
    split_peaks[i] = load_partial(at);
    split_totals[i] = load_partial(at + HG);
  }
  workgroupBarrier();
  for (var e = index; e < HG * D; e += INVOCATIONS) {
    let h = e / D;
    var peak = LOWEST;
    for (var s = 0u; s < splits; s++) {
      peak = max(peak, split_peaks[h * splits + s]);
    }
    var total = 0.0;
    var sum = 0.0;
    for (var s = 0u; s < splits; s += COMBINED) {
      //@repeat u COMBINED
      let value_$u = load_partial(base + min(s + $u, splits - 1u) * PARTIAL + e);
      //@end
      //@repeat u COMBINED
      if (s + $u < splits) {
        let factor = exp(split_peaks[h * splits + s + $u] - peak);
        total += factor * split_totals[h * splits + s + $u];
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

// What a workgroup needs before it looks at the cache: queries that `attention_append` made.
fn prepare(token: u32, unit: u32, span: Span, fresh: bool, invocation: Invocation) -> u32 {
  let first_head = (unit / HEAD_UNITS) * GROUP + (unit % HEAD_UNITS) * HG;
  for (var i = invocation.index; i < HG * D; i += INVOCATIONS) {
    queries[i / 4u][i % 4u] = ready[(token * HEADS + first_head) * D + i] * SCALE;
  }
  workgroupBarrier();
  return 0u;
}

// How keys and values of a turn come from the cache to the lanes of decode_lanes.wgsl.

struct Fetched {
  //@repeat u UNROLL
  //@repeat c CHUNKS
  key_$u_$c: keys_Word,
  value_$u_$c: values_Word,
  //@end
  //@end
}

// Asks for the positions at, at + GROUPS, … that a group of lanes takes, all pages first.
fn fetch_turn(sequence: u32, at: u32, end: u32, kv_head: u32, lane: u32) -> Fetched {
  //@repeat u UNROLL
  let row_$u = cache_row(sequence, min(at + $u * GROUPS, end - 1u), kv_head);
  //@end
  var fetched: Fetched;
  //@repeat u UNROLL
  //@repeat c CHUNKS
  fetched.key_$u_$c = keys_fetch(row_$u, min(lane + $c * LANES, D / 8u - 1u));
  //@end
  //@end
  //@repeat u UNROLL
  //@repeat c CHUNKS
  fetched.value_$u_$c = values_fetch(row_$u, min(lane + $c * LANES, D / 8u - 1u));
  //@end
  //@end
  return fetched;
}

// Sums and maxima over lanes, by butterflies of shuffles in a fixed order. STEPS is log2 LANES, JOINS
// log2 of the groups of lanes that meet.

// Sums over the LANES neighbours that share a key, the same in all of them.
fn lane_total(value: f32) -> f32 {
  var sum = value;
  //@repeat s STEPS
  sum += subgroupShuffleXor(sum, 1u << u32($s));
  //@end
  return sum;
}

// Sums, and the largest, of the same lane of JOINED neighbouring groups.
fn joined_sum(value: vec4<f32>) -> vec4<f32> {
  var sum = value;
  //@repeat s JOINS
  sum += subgroupShuffleXor(sum, LANES << u32($s));
  //@end
  return sum;
}

fn joined_max(value: f32) -> f32 {
  var top = value;
  //@repeat s JOINS
  top = max(top, subgroupShuffleXor(top, LANES << u32($s)));
  //@end
  return top;
}

// The invocations of a workgroup, where subgroups may be used. Nothing is assumed about the size of
// subgroups but that they have 8 invocations or more.
const MAX_SUBGROUPS = max(1u, INVOCATIONS / 8u);

struct Invocation {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) in_subgroup: u32,
}

fn add(a: f32, b: f32) -> f32 {
  return a + b;
}

// How the context of one token is divided among workgroups, from the token's position alone.
//
// Context in the cache: positions first..end - 1, in `splits` shares of `share` positions. With
// FRESH the step's own tokens are not in the cache yet, or must not be read from it: `end` is the
// smallest position that the step has of this sequence, and the last split takes the rest, the
// `run` tokens that end with this one, from the step itself. Tokens of a sequence stand side by
// side in a step, with consecutive positions. A workgroup takes TURN positions at a time, and
// LEAST_SHARE at least.
struct Span {
  sequence: u32, position: u32, first: u32, end: u32, share: u32, splits: u32, run: u32,
}

fn span_of(token: u32) -> Span {
  let sequence = sequence_ids[token];
  let position = u32(positions[token]);
  var run = select(0u, 1u, FRESH);
  for (var back = 1u; FRESH && back < FRESH_MAX && back <= token; back++) {
    if (sequence_ids[token - back] != sequence) {
      break;
    }
    run++;
  }
  let end = position + 1u - run;
  let seen = first_seen(position);
  let first = min(seen, end);
  let even = (end - first + SPLITS - 1u) / SPLITS;
  let share = max(LEAST_SHARE, (even + TURN - 1u) / TURN * TURN);
  let splits = max(1u, (end - first + share - 1u) / share);
  return Span(u32(sequence), position, first, end, share, splits, min(run, position + 1u - seen));
}

// Attention of single tokens over the paged cache, LANES invocations of a subgroup to a key.
//
// y [T, HEADS · D] f32
// Grid: split, unit (a key head, or a part of the query heads that share it), token.
//
// LANES neighbours hold the queries of the unit's HG heads in registers, CHUNKS chunks each, and
// take UNROLL keys and values a turn. Scores are summed by shuffles, so that nothing passes through
// workgroup memory and nobody waits for a barrier until the context is read. Every group of lanes
// has a softmax of its own; JOINED of them meet by shuffles at the end, and the rest once in
// workgroup memory. Keys and values of the first turn are on their way while the queries are made.
//
// With FRESH the step's own tokens are brought into the cache here as well: nobody reads them from
// there in this step (see share_turns.wgsl), so one dispatch is enough. With TICKET the last split
// to arrive combines all of them; otherwise `attention_combine` does.
//
// STEPS is log2 LANES, GROUPS INVOCATIONS / LANES, JOINS log2 JOINED, PARTIES GROUPS / JOINED, TURN
// GROUPS · UNROLL. AHEAD asks for the next turn before this one is computed.

var<workgroup> queries: array<vec4<f32>, HG * D / 4u>;
var<workgroup> fresh_keys: array<vec4<f32>, FRESH_MAX * D / 4u>;
var<workgroup> fresh_values: array<vec4<f32>, FRESH_MAX * D / 4u>;
var<workgroup> sums: array<vec4<f32>, PARTIES * HG * D / 4u>;
var<workgroup> peaks: array<f32, HG * PARTIES>;
var<workgroup> totals: array<f32, HG * PARTIES>;
var<workgroup> arrived: u32;

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
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
  let index = invocation.index;
  let lane = index % LANES;
  let row = index / LANES;
  let kv_head = unit / HEAD_UNITS;
  let first = span.first + split * span.share;
  let end = max(first, min(first + span.share, span.end));
  let turns = (end - first + TURN - 1u) / TURN;
  var next: Fetched;
  if (turns > 0u) {
    next = fetch_turn(span.sequence, first + row, end, kv_head, lane);
  }
  let fresh_count = prepare(token, unit, span, FRESH && split + 1u == span.splits, invocation);

  //@repeat h HG
  var peak_$h = LOWEST;
  var total_$h = 0.0;
  //@repeat c CHUNKS
  let query_$h_$c = query_chunk($h, lane + $c * LANES);
  var lo_$h_$c = vec4<f32>();
  var hi_$h_$c = vec4<f32>();
  //@end
  //@end

  for (var turn = 0u; turn < turns; turn++) {
    let at = first + turn * TURN + row;
    let now = next;
    if (AHEAD && turn + 1u < turns) {
      next = fetch_turn(span.sequence, at + TURN, end, kv_head, lane);
    }
    //@repeat u UNROLL
    //@repeat h HG
    var score_$h_$u = 0.0;
    //@end
    //@repeat c CHUNKS
    {
      let key = keys_unpack(now.key_$u_$c, 0u);
      //@repeat h HG
      score_$h_$u += chunk_dot(key, query_$h_$c);
      //@end
    }
    //@end
    //@repeat h HG
    score_$h_$u = select(LOWEST, lane_total(score_$h_$u), at + $u * GROUPS < end);
    //@end
    //@end
    //@repeat h HG
    {
      var top = peak_$h;
      //@repeat u UNROLL
      top = max(top, score_$h_$u);
      //@end
      let factor = exp(peak_$h - top);
      peak_$h = top;
      total_$h *= factor;
      //@repeat c CHUNKS
      lo_$h_$c *= factor;
      hi_$h_$c *= factor;
      //@end
      //@repeat u UNROLL
      score_$h_$u = select(0.0, exp(score_$h_$u - top), at + $u * GROUPS < end);
      total_$h += score_$h_$u;
      //@end
    }
    //@end
    //@repeat u UNROLL
    //@repeat c CHUNKS
    {
      let value = values_unpack(now.value_$u_$c, 0u);
      //@repeat h HG
      lo_$h_$c += score_$h_$u * value.lo;
      hi_$h_$c += score_$h_$u * value.hi;
      //@end
    }
    //@end
    //@end
    if (!AHEAD && turn + 1u < turns) {
      next = fetch_turn(span.sequence, at + TURN, end, kv_head, lane);
    }
  }

  if (fresh_count > 0u) {
    // One of the step's own tokens for each of the first groups of lanes.
    let mine = row < fresh_count;
    let key_row = min(row, fresh_count - 1u) * (D / 8u);
    //@repeat h HG
    var score_$h = 0.0;
    //@end
    //@repeat c CHUNKS
    {
      let at = 2u * (key_row + min(lane + $c * LANES, D / 8u - 1u));
      let key = Chunk(fresh_keys[at], fresh_keys[at + 1u]);
      //@repeat h HG
      score_$h += chunk_dot(key, query_$h_$c);
      //@end
    }
    //@end
    //@repeat h HG
    {
      score_$h = lane_total(score_$h);
      let top = max(peak_$h, select(LOWEST, score_$h, mine));
      let factor = exp(peak_$h - top);
      peak_$h = top;
      score_$h = select(0.0, exp(score_$h - top), mine);
      total_$h = total_$h * factor + score_$h;
      //@repeat c CHUNKS
      {
        let at = 2u * (key_row + min(lane + $c * LANES, D / 8u - 1u));
        lo_$h_$c = lo_$h_$c * factor + score_$h * fresh_values[at];
        hi_$h_$c = hi_$h_$c * factor + score_$h * fresh_values[at + 1u];
      }
      //@end
    }
    //@end
  }

  //@repeat h HG
  {
    let peak = joined_max(peak_$h);
    let factor = exp(peak_$h - peak);
    let total = joined_sum(vec4(total_$h * factor)).x;
    //@repeat c CHUNKS
    let sum_lo_$c = joined_sum(lo_$h_$c * factor);
    let sum_hi_$c = joined_sum(hi_$h_$c * factor);
    //@end
    if (row % JOINED == 0u) {
      let party = row / JOINED;
      //@repeat c CHUNKS
      if (lane + $c * LANES < D / 8u) {
        let at = (party * HG + $h) * (D / 4u) + 2u * (lane + $c * LANES);
        sums[at] = sum_lo_$c;
        sums[at + 1u] = sum_hi_$c;
      }
      //@end
      if (lane == 0u) {
        peaks[$h * PARTIES + party] = peak;
        totals[$h * PARTIES + party] = total;
      }
    }
  }
  //@end
  workgroupBarrier();
  let base = partial_at(token, unit, split);
  for (var i = index; i < HG * D / 4u; i += INVOCATIONS) {
    let h = i / (D / 4u);
    var peak = LOWEST;
    //@repeat p PARTIES
    let peak_$p = peaks[h * PARTIES + $p];
    peak = max(peak, peak_$p);
    //@end
    var total = 0.0;
    var sum = vec4<f32>();
    //@repeat p PARTIES
    {
      let factor = exp(peak_$p - peak);
      total += factor * totals[h * PARTIES + $p];
      sum += factor * sums[$p * (HG * D / 4u) + i];
    }
    //@end
    if (span.splits == 1u) {
      let head = head_of(unit, h);
      sum *= gain_of(head, peak, total);
      let at = (token * HEADS + head) * D + (i % (D / 4u)) * 4u;
      //@repeat e 4
      y[at + $e] = sum[$e];
      //@end
    } else {
      //@repeat e 4
      store_partial(base + i * 4u + $e, sum[$e]);
      //@end
    }
    if (span.splits > 1u && i % (D / 4u) == 0u) {
      store_partial(base + HG * D + h, peak);
      store_partial(base + HG * D + HG + h, total);
    }
  }
  if (!TICKET || span.splits == 1u) {
    return;
  }
  storageBarrier();
  if (index == 0u) {
    arrived = take_ticket(token * UNITS + unit, span.splits);
  }
  if (workgroupUniformLoad(&arrived) + 1u == span.splits) {
    storageBarrier();
    combine(token, unit, span.splits, index);
  }
}

// A chunk of a query, zero behind the end of a head.
fn query_chunk(h: u32, chunk: u32) -> Chunk {
  if (chunk >= D / 8u) {
    return Chunk(vec4<f32>(), vec4<f32>());
  }
  let at = (h * (D / 8u) + chunk) * 2u;
  return Chunk(queries[at], queries[at + 1u]);
}
