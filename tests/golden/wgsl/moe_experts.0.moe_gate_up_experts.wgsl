const x_COLUMNS = 40u;
const w_up_COLUMNS = 40u;
const w_up_PARTS = 1u;
const w_up_WORDS = 5u;
const w_up_FIRST_ROW = 0u;
const FIRST_EXPERT = 0u;
const END_EXPERT = 6u;
const ALPHA = 1.7020000219345093f;
const LIMIT = 7.0f;
const LANES = 8u;
const QUADS = 2u;
const ROWS = 4u;
const OUTPUTS_PER_QUAD = 2u;
const THREADS = 8u;
const COLUMNS = 3u;
const MAX_PAIRS = 32u;
const HIDDEN = 40u;
const INTERMEDIATE = 24u;
const TOP_K = 2u;
const MATRICES = 2u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> selected: array<i32>;
@group(0) @binding(2) var<storage, read> w_up: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> b_up: array<f32>;
@group(0) @binding(4) var<storage, read_write> act: array<f32>;
@group(0) @binding(5) var<uniform> sizes: vec4<u32>;

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

fn input_factor_at(i: u32) -> f32 {
  return 1.0f;
}

// Weight rows of bf16, a multiple of 8 long, bound as array<vec4<u32>>.
alias w_up_Word = vec4<u32>;

fn w_up_fetch(row: u32, word: u32) -> w_up_Word {
  return w_up[(row - w_up_FIRST_ROW) * (w_up_COLUMNS / 8u) + word];
}

fn w_up_unpack(word: w_up_Word, part: u32) -> Chunk {
  let even = bitcast<vec4<f32>>(word << vec4(16u));
  let odd = bitcast<vec4<f32>>(word & vec4(0xffff0000u));
  return Chunk(vec4(even.x, odd.x, even.y, odd.y), vec4(even.z, odd.z, even.w, odd.w));
}

fn w_up_dot(word: w_up_Word, part: u32, x: Chunk) -> f32 {
  return chunk_dot(w_up_unpack(word, part), x);
}

fn b_up_at(i: u32) -> f32 {
  return b_up[i];
}

// gpt-oss: (clamp(up, ±limit) + 1) · g · sigmoid(alpha · g) with g = min(gate, limit).
fn expert_activation(first: f32, second: f32) -> f32 {
  let gate = min(second, LIMIT);
  let up = clamp(first, -LIMIT, LIMIT);
  return (up + 1.0) * (gate / (1.0 + exp(min(-ALPHA * gate, 80.0))));
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

// Up and gate projections with the activation, expert by expert: a workgroup makes ROWS outputs of
// one expert for every pair that chose it, up to COLUMNS at a time, so that a weight is read once
// however many tokens share it. A quad is four weight rows; for a gated expert its rows alternate
// up, gate. Grid: (rows, experts).

var<workgroup> members: array<u32, MAX_PAIRS>;
var<workgroup> member_count: atomic<u32>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) place: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let expert = FIRST_EXPERT + place.y;
  // The order of members does not matter: each one's result is computed by itself.
  for (var pair = index; pair < sizes.x * TOP_K; pair += LANES) {
    if (u32(selected[pair]) == expert) {
      members[atomicAdd(&member_count, 1u)] = pair;
    }
  }
  workgroupBarrier();
  let count = atomicLoad(&member_count);
  let row = place.x * ROWS;
  let matrix = expert * (MATRICES * INTERMEDIATE);
  const VALUE_0_0 = 0 * 4u + 0;
  let row_0_0 = matrix + (VALUE_0_0 % MATRICES) * INTERMEDIATE
    + min(row + VALUE_0_0 / MATRICES, INTERMEDIATE - 1u);
  const VALUE_0_1 = 0 * 4u + 1;
  let row_0_1 = matrix + (VALUE_0_1 % MATRICES) * INTERMEDIATE
    + min(row + VALUE_0_1 / MATRICES, INTERMEDIATE - 1u);
  const VALUE_0_2 = 0 * 4u + 2;
  let row_0_2 = matrix + (VALUE_0_2 % MATRICES) * INTERMEDIATE
    + min(row + VALUE_0_2 / MATRICES, INTERMEDIATE - 1u);
  const VALUE_0_3 = 0 * 4u + 3;
  let row_0_3 = matrix + (VALUE_0_3 % MATRICES) * INTERMEDIATE
    + min(row + VALUE_0_3 / MATRICES, INTERMEDIATE - 1u);
  const VALUE_1_0 = 1 * 4u + 0;
  let row_1_0 = matrix + (VALUE_1_0 % MATRICES) * INTERMEDIATE
    + min(row + VALUE_1_0 / MATRICES, INTERMEDIATE - 1u);
  const VALUE_1_1 = 1 * 4u + 1;
  let row_1_1 = matrix + (VALUE_1_1 % MATRICES) * INTERMEDIATE
    + min(row + VALUE_1_1 / MATRICES, INTERMEDIATE - 1u);
  const VALUE_1_2 = 1 * 4u + 2;
  let row_1_2 = matrix + (VALUE_1_2 % MATRICES) * INTERMEDIATE
    + min(row + VALUE_1_2 / MATRICES, INTERMEDIATE - 1u);
  const VALUE_1_3 = 1 * 4u + 3;
  let row_1_3 = matrix + (VALUE_1_3 % MATRICES) * INTERMEDIATE
    + min(row + VALUE_1_3 / MATRICES, INTERMEDIATE - 1u);
  for (var member = 0u; member < count; member += COLUMNS) {
    let pair_0 = members[min(member + 0, count - 1u)];
    let token_0 = pair_0 / TOP_K;
    var sum_0_0 = vec4<f32>();
    var sum_0_1 = vec4<f32>();
    let pair_1 = members[min(member + 1, count - 1u)];
    let token_1 = pair_1 / TOP_K;
    var sum_1_0 = vec4<f32>();
    var sum_1_1 = vec4<f32>();
    let pair_2 = members[min(member + 2, count - 1u)];
    let token_2 = pair_2 / TOP_K;
    var sum_2_0 = vec4<f32>();
    var sum_2_1 = vec4<f32>();
    for (var word = index; word < w_up_WORDS; word += LANES) {
      let w_0_0 = w_up_fetch(row_0_0, word);
      let w_0_1 = w_up_fetch(row_0_1, word);
      let w_0_2 = w_up_fetch(row_0_2, word);
      let w_0_3 = w_up_fetch(row_0_3, word);
      let w_1_0 = w_up_fetch(row_1_0, word);
      let w_1_1 = w_up_fetch(row_1_1, word);
      let w_1_2 = w_up_fetch(row_1_2, word);
      let w_1_3 = w_up_fetch(row_1_3, word);
      let x_0_0 = x_round(x_chunk(token_0, word * w_up_PARTS + 0), expert);
      let x_0_1 = x_round(x_chunk(token_1, word * w_up_PARTS + 0), expert);
      let x_0_2 = x_round(x_chunk(token_2, word * w_up_PARTS + 0), expert);
      {
        let w0 = w_up_unpack(w_0_0, 0);
        let w1 = w_up_unpack(w_0_1, 0);
        let w2 = w_up_unpack(w_0_2, 0);
        let w3 = w_up_unpack(w_0_3, 0);
        sum_0_0 += vec4(
          chunk_dot(w0, x_0_0), chunk_dot(w1, x_0_0),
          chunk_dot(w2, x_0_0), chunk_dot(w3, x_0_0),
        );
        sum_1_0 += vec4(
          chunk_dot(w0, x_0_1), chunk_dot(w1, x_0_1),
          chunk_dot(w2, x_0_1), chunk_dot(w3, x_0_1),
        );
        sum_2_0 += vec4(
          chunk_dot(w0, x_0_2), chunk_dot(w1, x_0_2),
          chunk_dot(w2, x_0_2), chunk_dot(w3, x_0_2),
        );
      }
      {
        let w0 = w_up_unpack(w_1_0, 0);
        let w1 = w_up_unpack(w_1_1, 0);
        let w2 = w_up_unpack(w_1_2, 0);
        let w3 = w_up_unpack(w_1_3, 0);
        sum_0_1 += vec4(
          chunk_dot(w0, x_0_0), chunk_dot(w1, x_0_0),
          chunk_dot(w2, x_0_0), chunk_dot(w3, x_0_0),
        );
        sum_1_1 += vec4(
          chunk_dot(w0, x_0_1), chunk_dot(w1, x_0_1),
          chunk_dot(w2, x_0_1), chunk_dot(w3, x_0_1),
        );
        sum_2_1 += vec4(
          chunk_dot(w0, x_0_2), chunk_dot(w1, x_0_2),
          chunk_dot(w2, x_0_2), chunk_dot(w3, x_0_2),
        );
      }
    }
    {
      // Lane i finishes output row i.
      var first = 0.0;
      var second = 0.0;
      let total_0 = lane_sum(sum_0_0, index);
      if (index == 0 * OUTPUTS_PER_QUAD + 0) {
        first = total_0[0 * MATRICES];
        second = total_0[0 * MATRICES + MATRICES - 1u];
      }
      if (index == 0 * OUTPUTS_PER_QUAD + 1) {
        first = total_0[1 * MATRICES];
        second = total_0[1 * MATRICES + MATRICES - 1u];
      }
      let total_1 = lane_sum(sum_0_1, index);
      if (index == 1 * OUTPUTS_PER_QUAD + 0) {
        first = total_1[0 * MATRICES];
        second = total_1[0 * MATRICES + MATRICES - 1u];
      }
      if (index == 1 * OUTPUTS_PER_QUAD + 1) {
        first = total_1[1 * MATRICES];
        second = total_1[1 * MATRICES + MATRICES - 1u];
      }
      let column = row + index;
      if (index < ROWS && column < INTERMEDIATE && member + 0 < count) {
        let factor = input_factor_at(pair_0);
        act[pair_0 * INTERMEDIATE + column] = expert_activation(
          first * factor + b_up_at(matrix + column),
          second * factor + b_up_at(matrix + (MATRICES - 1u) * INTERMEDIATE + column),
        );
      }
    }
    {
      // Lane i finishes output row i.
      var first = 0.0;
      var second = 0.0;
      let total_0 = lane_sum(sum_1_0, index);
      if (index == 0 * OUTPUTS_PER_QUAD + 0) {
        first = total_0[0 * MATRICES];
        second = total_0[0 * MATRICES + MATRICES - 1u];
      }
      if (index == 0 * OUTPUTS_PER_QUAD + 1) {
        first = total_0[1 * MATRICES];
        second = total_0[1 * MATRICES + MATRICES - 1u];
      }
      let total_1 = lane_sum(sum_1_1, index);
      if (index == 1 * OUTPUTS_PER_QUAD + 0) {
        first = total_1[0 * MATRICES];
        second = total_1[0 * MATRICES + MATRICES - 1u];
      }
      if (index == 1 * OUTPUTS_PER_QUAD + 1) {
        first = total_1[1 * MATRICES];
        second = total_1[1 * MATRICES + MATRICES - 1u];
      }
      let column = row + index;
      if (index < ROWS && column < INTERMEDIATE && member + 1 < count) {
        let factor = input_factor_at(pair_1);
        act[pair_1 * INTERMEDIATE + column] = expert_activation(
          first * factor + b_up_at(matrix + column),
          second * factor + b_up_at(matrix + (MATRICES - 1u) * INTERMEDIATE + column),
        );
      }
    }
    {
      // Lane i finishes output row i.
      var first = 0.0;
      var second = 0.0;
      let total_0 = lane_sum(sum_2_0, index);
      if (index == 0 * OUTPUTS_PER_QUAD + 0) {
        first = total_0[0 * MATRICES];
        second = total_0[0 * MATRICES + MATRICES - 1u];
      }
      if (index == 0 * OUTPUTS_PER_QUAD + 1) {
        first = total_0[1 * MATRICES];
        second = total_0[1 * MATRICES + MATRICES - 1u];
      }
      let total_1 = lane_sum(sum_2_1, index);
      if (index == 1 * OUTPUTS_PER_QUAD + 0) {
        first = total_1[0 * MATRICES];
        second = total_1[0 * MATRICES + MATRICES - 1u];
      }
      if (index == 1 * OUTPUTS_PER_QUAD + 1) {
        first = total_1[1 * MATRICES];
        second = total_1[1 * MATRICES + MATRICES - 1u];
      }
      let column = row + index;
      if (index < ROWS && column < INTERMEDIATE && member + 2 < count) {
        let factor = input_factor_at(pair_2);
        act[pair_2 * INTERMEDIATE + column] = expert_activation(
          first * factor + b_up_at(matrix + column),
          second * factor + b_up_at(matrix + (MATRICES - 1u) * INTERMEDIATE + column),
        );
      }
    }
  }
}
