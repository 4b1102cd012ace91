const x_COLUMNS = 40u;
const w_up_COLUMNS = 40u;
const w_up_CHUNKS = 1u;
const w_up_WORDS = 5u;
const w_up_FIRST_ROW = 0u;
const FIRST_EXPERT = 0u;
const END_EXPERT = 6u;
const LANES = 8u;
const QUADS = 2u;
const WIDTH = 4u;
const ROWS = 4u;
const OUTPUTS_PER_QUAD = 2u;
const INVOCATIONS = 16u;
const GROUPS = 2u;
const PASSES = 1u;
const FIRST_WORD_0 = 0u;
const END_WORD_0 = 5u;
const UNROLL_0 = 1u;
const ENDS_0 = true;
const HIDDEN = 40u;
const INTERMEDIATE = 24u;
const TOP_K = 2u;
const MATRICES = 2u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> selected: array<i32>;
@group(0) @binding(2) var<storage, read> w_up: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> b_up: array<f32>;
@group(0) @binding(4) var<storage, read_write> act: array<f32>;

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

// The expert of a workgroup's slot, as it was chosen before.
fn expert_of(group: vec3<u32>, index: u32) -> u32 {
  return u32(selected[group.z * TOP_K + group.y]);
}

// Whether a workgroup has nothing to do. A negative id is huge as u32, so one range check drops
// everything outside.
fn is_idle(group: vec3<u32>, index: u32) -> bool {
  let expert = expert_of(group, index);
  return expert < FIRST_EXPERT || expert >= END_EXPERT;
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
