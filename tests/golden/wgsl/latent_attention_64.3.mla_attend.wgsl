const keys_COLUMNS = 576u;
const keys_FIRST_ROW = 0u;
const HEADS = 20u;
const N = 192u;
const R = 64u;
const V = 256u;
const L = 512u;
const D = 576u;
const KV_HEADS = 1u;
const PAGE = 16u;
const WINDOW = 0u;
const LONG_RUN = 1u;
const WORDS = 64u;
const SPLITS = 1u;
const LEAST_SHARE = 32u;
const LOWEST = -3.4028234663852886e+38f;
const INVOCATIONS = 256u;
const UNIT = 4u;
const TEAMS = 4u;
const LANES = 8u;
const WORDS_IN_FLIGHT = 9u;
const KEYS_IN_FLIGHT = 8u;
const SCALE = 0.0625f;

@group(0) @binding(0) var<storage, read> positions: array<i32>;
@group(0) @binding(1) var<storage, read> sequence_ids: array<i32>;
@group(0) @binding(2) var<storage, read> block_table: array<i32>;
@group(0) @binding(3) var<uniform> step: vec4<u32>;
@group(0) @binding(4) var<storage, read> keys: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> ready: array<f32>;
@group(0) @binding(6) var<storage, read_write> partials: array<f32>;

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

// How the keys of a context are shared out: to SPLITS workgroups, LEAST_SHARE keys or a multiple each.

fn keys_of_share(context: u32) -> u32 {
  return (context + LEAST_SHARE * SPLITS - 1u) / (LEAST_SHARE * SPLITS) * LEAST_SHARE;
}

// Shares that are not empty.
fn used_splits(context: u32) -> u32 {
  let keys = keys_of_share(context);
  return (context + keys - 1u) / keys;
}

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

// Every sequence keeps the absorbed form.
fn is_expanded(token: u32) -> bool {
  return false;
}

fn store_query(token: u32, head: u32, index: u32) {
}

// Sums over the LANES neighbouring invocations of a subgroup; every one of them gets the sum. A
// butterfly of shuffles works for any subgroup of at least LANES invocations, in a fixed order.
fn lane_sum(value: vec4<f32>, index: u32) -> vec4<f32> {
  var sum = value;
  for (var reach = LANES / 2u; reach > 0u; reach >>= 1u) {
    sum += subgroupShuffleXor(sum, reach);
  }
  return sum;
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

// Combines UNIT numbers over all invocations: every invocation puts its share of each, then
// peak_join (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// subgroupMax is subgroupAdd or subgroupMax, max the same for two numbers.
var<workgroup> peak_shares: array<f32, UNIT * MAX_SUBGROUPS>;

fn peak_share(slot: u32, value: f32, invocation: Invocation) {
  let share = subgroupMax(value);
  if (invocation.in_subgroup == 0u) {
    peak_shares[invocation.subgroup * UNIT + slot] = share;
  }
}

fn peak_join(invocation: Invocation) {
  workgroupBarrier();
}

fn peak_result(slot: u32, invocation: Invocation) -> f32 {
  var result = peak_shares[slot];
  for (var s = 1u; s < invocation.subgroups; s++) {
    result = max(result, peak_shares[s * UNIT + slot]);
  }
  return result;
}

// Combines UNIT numbers over all invocations: every invocation puts its share of each, then
// total_join (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// subgroupAdd is subgroupAdd or subgroupMax, add the same for two numbers.
var<workgroup> total_shares: array<f32, UNIT * MAX_SUBGROUPS>;

fn total_share(slot: u32, value: f32, invocation: Invocation) {
  let share = subgroupAdd(value);
  if (invocation.in_subgroup == 0u) {
    total_shares[invocation.subgroup * UNIT + slot] = share;
  }
}

fn total_join(invocation: Invocation) {
  workgroupBarrier();
}

fn total_result(slot: u32, invocation: Invocation) -> f32 {
  var result = total_shares[slot];
  for (var s = 1u; s < invocation.subgroups; s++) {
    result = add(result, total_shares[s * UNIT + slot]);
  }
  return result;
}

// Attention over latents: UNIT heads of one token, over one share of its context.
//
// ready [T, HEADS, D] f32, keys: the cache, rows of D = L + R numbers of which the first L are the values
// partials [T, HEADS, SPLITS, L + 2] f32: the sums, their largest score, the sum of the weights
// Grid: token, unit of heads, split.
//
// A tile has a key for each invocation. For the scores LANES neighbours share a key and hold two of
// them at a time, so that a query's number is read from workgroup memory once for both; for the sums
// TEAMS groups of invocations share the keys, and each invocation holds 8 numbers of every head.

const D_WORDS = D / 8u;
// Keys that the invocations hold at a time.
const STEP_KEYS = INVOCATIONS / LANES;

var<workgroup> queries: array<Chunk, UNIT * D_WORDS>;
// Scores of a key for each head, then its weights.
var<workgroup> weights: array<vec4<f32>, INVOCATIONS>;
var<workgroup> rows: array<u32, INVOCATIONS>;
var<workgroup> shares: array<Chunk, INVOCATIONS>;

fn query_word(i: u32) -> Chunk {
  return Chunk(
    vec4(ready[i], ready[i + 1u], ready[i + 2u], ready[i + 3u]),
    vec4(ready[i + 4u], ready[i + 5u], ready[i + 6u], ready[i + 7u]),
  );
}

// Scores of the keys from `first` on, STEP_KEYS apart, without SCALE.
fn score_keys(first: u32, index: u32) {
  let lane = index % LANES;
  let key = first + index / LANES;
  let near = rows[min(key, INVOCATIONS - 1u)];
  let far = rows[min(key + STEP_KEYS, INVOCATIONS - 1u)];
  var sum = vec4<f32>();
  var far_sum = vec4<f32>();
  for (var base = lane; base < D_WORDS; base += LANES * WORDS_IN_FLIGHT) {
    //@repeat w WORDS_IN_FLIGHT
    let word_$w = min(base + $w * LANES, D_WORDS - 1u);
    let near_$w = keys_fetch(near, word_$w);
    let far_$w = keys_fetch(far, word_$w);
    //@end
    // No branches here: a compiler would ask for each word only inside its own.
    //@repeat w WORDS_IN_FLIGHT
    {
      let a = keys_unpack(near_$w, 0u);
      let b = keys_unpack(far_$w, 0u);
      let counts = select(0.0, 1.0, base + $w * LANES < D_WORDS);
      //@repeat h UNIT
      {
        let query = queries[u32($h) * D_WORDS + word_$w];
        sum[$h] += counts * chunk_dot(a, query);
        far_sum[$h] += counts * chunk_dot(b, query);
      }
      //@end
    }
    //@end
  }
  let score = lane_sum(sum, index);
  let far_score = lane_sum(far_sum, index);
  if (lane == 0u && key < INVOCATIONS) {
    weights[key] = score;
  }
  if (lane == 0u && key + STEP_KEYS < INVOCATIONS) {
    weights[key + STEP_KEYS] = far_score;
  }
}

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.x;
  let first_head = group.y * UNIT;
  let index = invocation.index;
  let sequence = u32(sequence_ids[token]);
  let context = u32(positions[token]) + 1u;
  let share = keys_of_share(context);
  let begin = min(context, group.z * share);
  let end = min(context, begin + share);
  if (begin == end || is_expanded(token)) {
    return;
  }
  for (var i = index; i < UNIT * D_WORDS; i += INVOCATIONS) {
    queries[i] = query_word((token * HEADS + first_head) * D + i * 8u);
  }
  let word = index % (INVOCATIONS / TEAMS);
  let team = index / (INVOCATIONS / TEAMS);
  //@repeat h UNIT
  var peak_$h = LOWEST;
  var total_$h = 0.0;
  var sum_$h = Chunk();
  //@end
  for (var base = begin; base < end; base += INVOCATIONS) {
    let count = min(INVOCATIONS, end - base);
    rows[index] = cache_row(sequence, min(base + index, end - 1u), 0u);
    workgroupBarrier();
    for (var first = 0u; first < count; first += 2u * STEP_KEYS) {
      score_keys(first, index);
    }
    workgroupBarrier();
    let seen = index < count;
    let own = weights[index];
    //@repeat h UNIT
    let score_$h = select(LOWEST, own[$h] * SCALE, seen);
    peak_share(u32($h), score_$h, invocation);
    //@end
    peak_join(invocation);
    var weight = vec4<f32>();
    //@repeat h UNIT
    let top_$h = max(peak_$h, peak_result(u32($h), invocation));
    let factor_$h = exp(peak_$h - top_$h);
    peak_$h = top_$h;
    weight[$h] = select(0.0, exp(score_$h - top_$h), seen);
    total_share(u32($h), weight[$h], invocation);
    sum_$h = chunk_scale(sum_$h, factor_$h);
    //@end
    weights[index] = weight;
    total_join(invocation);
    //@repeat h UNIT
    total_$h = total_$h * factor_$h + total_result(u32($h), invocation);
    //@end
    for (var j = team; word < WORDS && j < count; j += TEAMS * KEYS_IN_FLIGHT) {
      //@repeat k KEYS_IN_FLIGHT
      let value_$k = keys_fetch(rows[min(j + $k * TEAMS, INVOCATIONS - 1u)], word);
      //@end
      // Keys behind the end weigh nothing.
      //@repeat k KEYS_IN_FLIGHT
      {
        let value = keys_unpack(value_$k, 0u);
        let near = min(j + $k * TEAMS, INVOCATIONS - 1u);
        let by = select(vec4<f32>(), weights[near], j + $k * TEAMS < count);
        //@repeat h UNIT
        sum_$h = Chunk(sum_$h.lo + value.lo * by[$h], sum_$h.hi + value.hi * by[$h]);
        //@end
      }
      //@end
    }
    workgroupBarrier();
  }
  //@repeat h UNIT
  {
    shares[index] = sum_$h;
    workgroupBarrier();
    let at = ((token * HEADS + first_head + u32($h)) * SPLITS + group.z) * (L + 2u);
    if (team == 0u && word < WORDS) {
      var sum = sum_$h;
      for (var other = 1u; other < TEAMS; other++) {
        let more = shares[index + other * (INVOCATIONS / TEAMS)];
        sum = Chunk(sum.lo + more.lo, sum.hi + more.hi);
      }
      for (var i = 0u; i < 4u; i++) {
        if (word * 8u + i < L) {
          partials[at + word * 8u + i] = sum.lo[i];
        }
        if (word * 8u + 4u + i < L) {
          partials[at + word * 8u + 4u + i] = sum.hi[i];
        }
      }
    }
    if (index == 0u) {
      partials[at + L] = peak_$h;
      partials[at + L + 1u] = total_$h;
    }
    workgroupBarrier();
  }
  //@end
}
