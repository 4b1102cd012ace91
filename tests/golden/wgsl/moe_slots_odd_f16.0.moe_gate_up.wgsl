const x_COLUMNS = 37u;
const w_up_COLUMNS = 37u;
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
const HIDDEN = 37u;
const INTERMEDIATE = 19u;
const TOP_K = 2u;
const MATRICES = 2u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> selected: array<i32>;
@group(0) @binding(2) var<storage, read> w_up: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> act: array<f32>;

// Eight consecutive elements: the unit in which weights and activations are read.
struct Chunk { lo: vec4<f32>, hi: vec4<f32> }

fn chunk_dot(a: Chunk, b: Chunk) -> f32 {
  return dot(a.lo, b.lo) + dot(a.hi, b.hi);
}

fn chunk_scale(a: Chunk, factor: f32) -> Chunk {
  return Chunk(a.lo * factor, a.hi * factor);
}

// Rows of f32 activations of any length, bound as array<f32>; zeros behind the end.
fn x_element(row: u32, column: u32) -> f32 {
  if (column >= x_COLUMNS) {
    return 0.0;
  }
  return x[row * x_COLUMNS + column];
}

fn x_chunk(row: u32, chunk: u32) -> Chunk {
  let c = chunk * 8u;
  return Chunk(
    vec4(
      x_element(row, c), x_element(row, c + 1u),
      x_element(row, c + 2u), x_element(row, c + 3u),
    ),
    vec4(
      x_element(row, c + 4u), x_element(row, c + 5u),
      x_element(row, c + 6u), x_element(row, c + 7u),
    ),
  );
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

fn w_up_at(row: u32, column: u32) -> f32 {
  let i = (row - w_up_FIRST_ROW) * w_up_COLUMNS + column;
  let pair = unpack2x16float(w_up[i >> 3u][(i >> 1u) & 3u]);
  return select(pair.x, pair.y, (i & 1u) == 1u);
}

// Weight rows of any length, element by element through w_up_at; zeros behind the end.
alias w_up_Word = Chunk;

fn w_up_element(row: u32, column: u32) -> f32 {
  if (column >= w_up_COLUMNS) {
    return 0.0;
  }
  return w_up_at(row, column);
}

fn w_up_fetch(row: u32, word: u32) -> w_up_Word {
  let c = word * 8u;
  return Chunk(
    vec4(
      w_up_element(row, c), w_up_element(row, c + 1u),
      w_up_element(row, c + 2u), w_up_element(row, c + 3u),
    ),
    vec4(
      w_up_element(row, c + 4u), w_up_element(row, c + 5u),
      w_up_element(row, c + 6u), w_up_element(row, c + 7u),
    ),
  );
}

fn w_up_unpack(word: w_up_Word, chunk: u32) -> Chunk {
  return word;
}

fn w_up_dot(word: w_up_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot(word, x);
}

// Which chunk of a row a chunk of a word is: the chunks of a word follow each other.
fn w_up_place(word: u32, chunk: u32) -> u32 {
  return word * w_up_CHUNKS + chunk;
}

fn b_up_at(i: u32) -> f32 {
  return 0.0f;
}

// erfc by the rational Chebyshev fit of Numerical Recipes (erfcc), whose relative error is
// below 1.2e-7 everywhere, so the far negative side is right as well.
fn erfc(x: f32) -> f32 {
  let z = abs(x);
  let t = 1.0 / (1.0 + 0.5 * z);
  let p = fma(t, 0.17087277, -0.82215223);
  let q = fma(t, fma(t, fma(t, p, 1.48851587), -1.13520398), 0.27886807);
  let r = fma(t, fma(t, fma(t, fma(t, q, -0.18628806), 0.09678418), 0.37409196), 1.00002368);
  let tail = t * exp(max(fma(-z, z, fma(t, r, -1.26551223)), -80.0));
  return select(tail, 2.0 - tail, x < 0.0);
}

// x · Φ(x)
fn activation(x: f32) -> f32 {
  return 0.5 * x * erfc(-0.70710678 * x);
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
