const x_COLUMNS = 256u;
const E = 64u;
const EXPERTS = 64u;
const CHOSEN = 4u;
const SHARED = 1u;
const SHARED_GATE = false;
const SIGMOID = true;
const OVER_ALL = true;
const ONLY_SCORES = true;
const RENORMALIZE = false;
const SUM_OFFSET = 0.0f;
const SUM_FLOOR = 0.0f;
const NORM_POWER = 1.0f;
const SCALE = 1.0f;
const LOGIT_SCALE = 1.0f;
const LOWEST = -3.4028234663852886e+38f;
const BY_SOFTMAX = false;
const CHOICE_LANES = 32u;
const SCORES = 2u;
const ROW_GROUPS = 2u;
const ROUTER_INVOCATIONS = 32u;
const w_up_COLUMNS = 256u;
const w_up_CHUNKS = 1u;
const w_up_WORDS = 32u;
const w_up_FIRST_ROW = 0u;
const FIRST_EXPERT = 0u;
const END_EXPERT = 65u;
const LANES = 32u;
const QUADS = 1u;
const WIDTH = 4u;
const ROWS = 2u;
const OUTPUTS_PER_QUAD = 2u;
const INVOCATIONS = 64u;
const GROUPS = 2u;
const PASSES = 1u;
const FIRST_WORD_0 = 0u;
const END_WORD_0 = 32u;
const UNROLL_0 = 1u;
const ENDS_0 = false;
const HIDDEN = 256u;
const INTERMEDIATE = 8u;
const TOP_K = 5u;
const MATRICES = 2u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> selected: array<i32>;
@group(0) @binding(3) var<storage, read_write> routing_weights: array<f32>;
@group(0) @binding(4) var<storage, read> correction: array<f32>;
@group(0) @binding(5) var<storage, read> w_up: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> act: array<f32>;

// Eight consecutive elements: the unit in which weights and activations are read.
struct Chunk { lo: vec4<f32>, hi: vec4<f32> }

fn chunk_dot(a: Chunk, b: Chunk) -> f32 {
  return dot(a.lo, b.lo) + dot(a.hi, b.hi);
}

fn chunk_scale(a: Chunk, factor: f32) -> Chunk {
  return Chunk(a.lo * factor, a.hi * factor);
}

// Rows of f32 activations, a multiple of 8 long, bound as array<vec4<f32>>.
fn x_chunk(row: u32, chunk: u32) -> Chunk {
  let at = row * (x_COLUMNS / 4u) + chunk * 2u;
  return Chunk(x[at], x[at + 1u]);
}

// Activations are multiplied as they are.
fn x_round(value: Chunk, expert: u32) -> Chunk {
  return value;
}

// The choice of experts, made by the workgroups that need it: each finds the expert of its own slot
// from the logits of its token. One workgroup more for each token writes ids and weights for those
// who come after.
//
// CHOICE_LANES neighbouring invocations hold SCORES neighbouring experts each; in every round the best
// that is left is taken out, of equal ones that with the smallest id. A subgroup of more than CHOICE_LANES
// invocations holds them several times, which changes nothing.

// The order of numbers as an order of integers, all above 0; both zeros are equal.
fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(select(value, 0.0, value == 0.0));
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

// The expert that comes last when so many are chosen. `writes` keeps all of them.
fn choose(token: u32, slots: u32, index: u32, writes: bool) -> u32 {
  let lane = index % CHOICE_LANES;
  let first = lane * SCORES;
  var top = LOWEST;
  //@repeat s SCORES
  var score_$s = LOWEST;
  if (first + $s < EXPERTS) {
    score_$s = score_at(token, first + $s);
    top = max(top, score_$s);
  }
  //@end
  if (BY_SOFTMAX) {
    top = subgroupMax(top);
  }
  //@repeat s SCORES
  var key_$s = 0u;
  if (first + $s < EXPERTS) {
    key_$s = key_of(value_of(score_$s, first + $s, top));
  }
  //@end
  var expert = 0u;
  var winner = 0u;
  for (var slot = 0u; slot < slots; slot++) {
    var own = 0u;
    //@repeat s SCORES
    own = max(own, key_$s);
    //@end
    let best = subgroupMax(own);
    winner = countTrailingZeros(subgroupBallot(own == best).x);
    var wins = lane == winner;
    //@repeat s SCORES
    if (wins && key_$s == best) {
      key_$s = 0u;
      expert = first + $s;
      wins = false;
    }
    //@end
    if (writes && index == winner) {
      selected[token * TOP_K + slot] = i32(expert);
    }
  }
  return subgroupShuffle(expert, winner);
}

fn expert_of(group: vec3<u32>, index: u32) -> u32 {
  if (group.y >= CHOSEN) {
    return EXPERTS + group.y - CHOSEN;
  }
  return choose(group.z, group.y + 1u, index, false);
}

// Keeps the choice of a token and its weights.
fn write_choice(token: u32, index: u32) {
  choose(token, CHOSEN, index, true);
  if (index < SHARED) {
    selected[token * TOP_K + CHOSEN + index] = i32(EXPERTS + index);
  }
  storageBarrier();
  write_weights(token, index);
}

// True for workgroups without rows; one of them for each token writes the choice.
fn is_idle(group: vec3<u32>, index: u32) -> bool {
  if (group.x < ROW_GROUPS) {
    return false;
  }
  if (group.y == 0u) {
    write_choice(group.z, index);
  }
  return true;
}

fn correction_at(i: u32) -> f32 {
  return correction[i];
}

fn expert_scale_at(i: u32) -> f32 {
  return 1.0f;
}

// A logit by which experts are ranked: what is no number comes last. It is told by its bits, as compilers
// drop `logit == logit` (NVIDIA's does).
fn ranked_logit(logit: f32) -> f32 {
  let is_number = (bitcast<u32>(logit) & 0x7fffffffu) <= 0x7f800000u;
  return select(LOWEST, logit, is_number);
}

// The arithmetic of the general choice, for the router that chooses and for experts that do. Either gives
// the logits of four experts and the scores of the chosen ones of its tokens.
fn scaled_logit(logit: f32) -> f32 {
  let ranked = ranked_logit(logit);
  return select(ranked * LOGIT_SCALE, LOWEST, ranked == LOWEST);
}

fn sigmoid(x: f32) -> f32 {
  return 1.0 / (1.0 + exp(min(-x, 80.0)));
}

// The largest logit of a token, and the sum of the exponentials below it.
fn softmax_terms(token: u32) -> vec2<f32> {
  var top = vec4(LOWEST);
  for (var first = 0u; first < EXPERTS; first += 4u) {
    let ids = vec4(first) + vec4(0u, 1u, 2u, 3u);
    top = max(top, select(vec4(LOWEST), logits_of(token, first), ids < vec4(EXPERTS)));
  }
  let largest = max(max(top.x, top.y), max(top.z, top.w));
  var total = vec4(0.0);
  for (var first = 0u; first < EXPERTS; first += 4u) {
    let ids = vec4(first) + vec4(0u, 1u, 2u, 3u);
    let own = exp(logits_of(token, first) - vec4(largest));
    total += select(vec4(0.0), own, ids < vec4(EXPERTS));
  }
  return vec2(largest, total.x + total.y + total.z + total.w);
}

fn score_of_logit(logit: f32, softmax: vec2<f32>) -> f32 {
  if (!OVER_ALL) {
    return logit;
  }
  if (SIGMOID) {
    return sigmoid(logit);
  }
  return exp(logit - softmax.x) / softmax.y;
}

// The weight of a chosen slot before the renormalisation.
fn weight_of(token: u32, slot: u32) -> f32 {
  let own = chosen_score(token, slot);
  if (ONLY_SCORES) {
    return own;
  }
  if (SIGMOID) {
    return sigmoid(own);
  }
  var top = LOWEST;
  for (var other = 0u; other < CHOSEN; other++) {
    top = max(top, chosen_score(token, other));
  }
  var total = 0.0;
  for (var other = 0u; other < CHOSEN; other++) {
    total += exp(chosen_score(token, other) - top);
  }
  return exp(own - top) / total;
}

// What the weights of a token are divided by.
fn total_of(token: u32) -> f32 {
  if (!RENORMALIZE) {
    return 1.0;
  }
  var total = 0.0;
  for (var slot = 0u; slot < CHOSEN; slot++) {
    let term = weight_of(token, slot);
    total += select(pow(term, NORM_POWER), term, NORM_POWER == 1.0);
  }
  total = select(pow(total, 1.0 / NORM_POWER), total, NORM_POWER == 1.0);
  return max(total + SUM_OFFSET, SUM_FLOOR);
}

// Scores of routers with corrections, shared slots, scales and bounds, and the weights of chosen
// experts.
var<private> softmax = vec2(0.0, 1.0);

fn score_at(token: u32, expert: u32) -> f32 {
  return scaled_logit(logits[token * E + expert]);
}

// Those of four experts; where there are fewer, the last one's again.
fn logits_of(token: u32, first: u32) -> vec4<f32> {
  let ids = min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(EXPERTS - 1u));
  return vec4(
    score_at(token, ids.x), score_at(token, ids.y), score_at(token, ids.z), score_at(token, ids.w),
  );
}

// What experts are ranked by. A softmax is left undivided, which is the same order; of infinite logits
// it is NaN, one of which has the key of an expert that is taken.
fn value_of(score: f32, expert: u32, top: f32) -> f32 {
  return ranked_logit(score_of_logit(score, vec2(top, 1.0)) + correction_at(expert));
}

fn chosen_score(token: u32, slot: u32) -> f32 {
  return score_of_logit(score_at(token, u32(selected[token * TOP_K + slot])), softmax);
}

fn write_weights(token: u32, index: u32) {
  if (OVER_ALL && !SIGMOID) {
    softmax = softmax_terms(token);
  }
  let total = total_of(token);
  for (var slot = index; slot < TOP_K; slot += INVOCATIONS) {
    var weight = 1.0;
    if (slot < CHOSEN) {
      let expert = u32(selected[token * TOP_K + slot]);
      weight = weight_of(token, slot) / total * SCALE * expert_scale_at(expert);
    } else if (SHARED_GATE) {
      weight = sigmoid(score_at(token, EXPERTS));
    }
    routing_weights[token * TOP_K + slot] = weight;
  }
}

fn input_factor_at(i: u32) -> f32 {
  return 1.0f;
}

// Weight rows of bf16, a multiple of 8 long, bound as array<vec4<u32>>.
alias w_up_Word = vec4<u32>;

fn w_up_fetch(row: u32, word: u32) -> w_up_Word {
  return w_up[(row - w_up_FIRST_ROW) * (w_up_COLUMNS / 8u) + word];
}

fn w_up_unpack(word: w_up_Word, chunk: u32) -> Chunk {
  let even = bitcast<vec4<f32>>(word << vec4(16u));
  let odd = bitcast<vec4<f32>>(word & vec4(0xffff0000u));
  return Chunk(vec4(even.x, odd.x, even.y, odd.y), vec4(even.z, odd.z, even.w, odd.w));
}

fn w_up_dot(word: w_up_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot(w_up_unpack(word, chunk), x);
}

// Which chunk of a row a chunk of a word is: the chunks of a word follow each other.
fn w_up_place(word: u32, chunk: u32) -> u32 {
  return word * w_up_CHUNKS + chunk;
}

fn b_up_at(i: u32) -> f32 {
  return 0.0f;
}

fn activation(x: f32) -> f32 {
  // exp is kept from overflowing: past 80 the quotient is 0 to every digit anyway.
  return x / (1.0 + exp(min(-x, 80.0)));
}

// What an expert does between its two products: `first` comes from w3 (up), `second` from w1 (gate).
fn expert_activation(first: f32, second: f32) -> f32 {
  return activation(second) * first;
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

// Up and gate projections with the activation, slot by slot: a workgroup makes GROUPS · ROWS
// outputs of one (token, slot). LANES invocations share a row; a quad is WIDTH weight rows (four, or two of
// the only one), and for a gated expert its rows alternate up, gate, up, gate. Grid: (rows, slots, tokens).

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let token = group.z;
  let pair = token * TOP_K + group.y;
  if (is_idle(group, index)) {
    return;
  }
  let expert = expert_of(group, index);
  let lane = index % LANES;
  let row = (group.x * GROUPS + index / LANES) * ROWS;
  let matrix = expert * (MATRICES * INTERMEDIATE);
  //@repeat q QUADS
  //@repeat c 4
  var sum_$q_$c = 0.0;
  //@end
  //@repeat c WIDTH
  const VALUE_$q_$c = $q * 4u + $c;
  let row_$q_$c = matrix + (VALUE_$q_$c % MATRICES) * INTERMEDIATE
    + min(row + VALUE_$q_$c / MATRICES, INTERMEDIATE - 1u);
  //@end
  //@end
  // UNROLL words of a row in flight, then what is left of it at once, where not all lanes have a last word.
  //@repeat z PASSES
  for (var base = FIRST_WORD_$z + lane; base < END_WORD_$z; base += LANES * UNROLL_$z) {
    //@repeat u UNROLL_$z
    let word_$u = base + $u * LANES;
    let at_$u = select(word_$u, min(word_$u, END_WORD_$z - 1u), ENDS_$z);
    //@repeat q QUADS
    //@repeat c WIDTH
    let w_$u_$q_$c = w_up_fetch(row_$q_$c, at_$u);
    //@end
    //@end
    //@end
    //@repeat u UNROLL_$z
    if (!ENDS_$z || word_$u < END_WORD_$z) {
      //@repeat p w_up_CHUNKS
      let x_$p = x_round(x_chunk(token, w_up_place(word_$u, $p)), expert);
      //@repeat q QUADS
      //@repeat c WIDTH
      sum_$q_$c += w_up_dot(w_$u_$q_$c, $p, x_$p);
      //@end
      //@end
      //@end
    }
    //@end
  }
  //@end
  // Lane i finishes output row i.
  var first = 0.0;
  var second = 0.0;
  //@repeat q QUADS
  let total_$q = lane_sum(vec4(sum_$q_0, sum_$q_1, sum_$q_2, sum_$q_3), index);
  //@repeat o OUTPUTS_PER_QUAD
  if (lane == $q * OUTPUTS_PER_QUAD + $o) {
    first = total_$q[$o * MATRICES];
    second = total_$q[$o * MATRICES + MATRICES - 1u];
  }
  //@end
  //@end
  let column = row + lane;
  if (lane < ROWS && column < INTERMEDIATE) {
    let factor = input_factor_at(pair);
    act[pair * INTERMEDIATE + column] = expert_activation(
      first * factor + b_up_at(matrix + column),
      second * factor + b_up_at(matrix + (MATRICES - 1u) * INTERMEDIATE + column),
    );
  }
}
