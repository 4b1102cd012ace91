const x_COLUMNS = 40u;
const w_up_COLUMNS = 40u;
const w_up_CHUNKS = 1u;
const w_up_WORDS = 5u;
const w_up_FIRST_ROW = 0u;
const FIRST_EXPERT = 0u;
const END_EXPERT = 6u;
const ALPHA = 1.7020000219345093f;
const LIMIT = 7.0f;
const LANES = 8u;
const QUADS = 2u;
const WIDTH = 4u;
const ROWS = 4u;
const OUTPUTS_PER_QUAD = 2u;
const INVOCATIONS = 8u;
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
@group(0) @binding(5) var<uniform> step: vec4<u32>;

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
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let expert = FIRST_EXPERT + group.y;
  // The order of members does not matter: each one's result is computed by itself.
  for (var pair = index; pair < step.x * TOP_K; pair += LANES) {
    if (u32(selected[pair]) == expert) {
      members[atomicAdd(&member_count, 1u)] = pair;
    }
  }
  let count = workgroupUniformLoad(&member_count);
  let row = group.x * ROWS;
  let matrix = expert * (MATRICES * INTERMEDIATE);
  //@repeat q QUADS
  //@repeat c 4
  const VALUE_$q_$c = $q * 4u + $c;
  let row_$q_$c = matrix + (VALUE_$q_$c % MATRICES) * INTERMEDIATE
    + min(row + VALUE_$q_$c / MATRICES, INTERMEDIATE - 1u);
  //@end
  //@end
  for (var member = 0u; member < count; member += COLUMNS) {
    //@repeat n COLUMNS
    let pair_$n = members[min(member + $n, count - 1u)];
    let token_$n = pair_$n / TOP_K;
    //@repeat q QUADS
    var sum_$n_$q = vec4<f32>();
    //@end
    //@end
    for (var word = index; word < w_up_WORDS; word += LANES) {
      //@repeat q QUADS
      //@repeat c 4
      let w_$q_$c = w_up_fetch(row_$q_$c, word);
      //@end
      //@end
      //@repeat p w_up_CHUNKS
      //@repeat n COLUMNS
      let x_$p_$n = x_round(x_chunk(token_$n, w_up_place(word, $p)), expert);
      //@end
      //@repeat q QUADS
      {
        let w0 = w_up_unpack(w_$q_0, $p);
        let w1 = w_up_unpack(w_$q_1, $p);
        let w2 = w_up_unpack(w_$q_2, $p);
        let w3 = w_up_unpack(w_$q_3, $p);
        //@repeat n COLUMNS
        sum_$n_$q += vec4(
          chunk_dot(w0, x_$p_$n), chunk_dot(w1, x_$p_$n),
          chunk_dot(w2, x_$p_$n), chunk_dot(w3, x_$p_$n),
        );
        //@end
      }
      //@end
      //@end
    }
    //@repeat n COLUMNS
    {
      // Lane i finishes output row i.
      var first = 0.0;
      var second = 0.0;
      //@repeat q QUADS
      let total_$q = lane_sum(sum_$n_$q, index);
      //@repeat o OUTPUTS_PER_QUAD
      if (index == $q * OUTPUTS_PER_QUAD + $o) {
        first = total_$q[$o * MATRICES];
        second = total_$q[$o * MATRICES + MATRICES - 1u];
      }
      //@end
      //@end
      let column = row + index;
      if (index < ROWS && column < INTERMEDIATE && member + $n < count) {
        let factor = input_factor_at(pair_$n);
        act[pair_$n * INTERMEDIATE + column] = expert_activation(
          first * factor + b_up_at(matrix + column),
          second * factor + b_up_at(matrix + (MATRICES - 1u) * INTERMEDIATE + column),
        );
      }
    }
    //@end
  }
}
