const act_COLUMNS = 8u;
const w_down_COLUMNS = 8u;
const w_down_CHUNKS = 1u;
const w_down_WORDS = 1u;
const w_down_FIRST_ROW = 0u;
const FIRST_EXPERT = 0u;
const END_EXPERT = 65u;
const LANES = 32u;
const QUADS = 1u;
const WIDTH = 4u;
const ROWS = 4u;
const GROUPS = 5u;
const INVOCATIONS = 160u;
const PASSES = 1u;
const FIRST_WORD_0 = 0u;
const END_WORD_0 = 1u;
const UNROLL_0 = 1u;
const ENDS_0 = true;
const HIDDEN = 256u;
const INTERMEDIATE = 8u;
const TOP_K = 5u;
const MATRICES = 2u;

@group(0) @binding(0) var<storage, read> act: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> selected: array<i32>;
@group(0) @binding(2) var<storage, read> output_factor: array<f32>;
@group(0) @binding(3) var<storage, read> w_down: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// Eight consecutive elements: the unit in which weights and activations are read.
struct Chunk { lo: vec4<f32>, hi: vec4<f32> }

fn chunk_dot(a: Chunk, b: Chunk) -> f32 {
  return dot(a.lo, b.lo) + dot(a.hi, b.hi);
}

fn chunk_scale(a: Chunk, factor: f32) -> Chunk {
  return Chunk(a.lo * factor, a.hi * factor);
}

// Rows of f32 activations, a multiple of 8 long, bound as array<vec4<f32>>.
fn act_chunk(row: u32, chunk: u32) -> Chunk {
  let at = row * (act_COLUMNS / 4u) + chunk * 2u;
  return Chunk(act[at], act[at + 1u]);
}

// Activations are multiplied as they are.
fn act_round(value: Chunk, expert: u32) -> Chunk {
  return value;
}

fn output_factor_at(i: u32) -> f32 {
  return output_factor[i];
}

// Weight rows of bf16, a multiple of 8 long, bound as array<vec4<u32>>.
alias w_down_Word = vec4<u32>;

fn w_down_fetch(row: u32, word: u32) -> w_down_Word {
  return w_down[(row - w_down_FIRST_ROW) * (w_down_COLUMNS / 8u) + word];
}

fn w_down_unpack(word: w_down_Word, chunk: u32) -> Chunk {
  let even = bitcast<vec4<f32>>(word << vec4(16u));
  let odd = bitcast<vec4<f32>>(word & vec4(0xffff0000u));
  return Chunk(vec4(even.x, odd.x, even.y, odd.y), vec4(even.z, odd.z, even.w, odd.w));
}

fn w_down_dot(word: w_down_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot(w_down_unpack(word, chunk), x);
}

// Which chunk of a row a chunk of a word is: the chunks of a word follow each other.
fn w_down_place(word: u32, chunk: u32) -> u32 {
  return word * w_down_CHUNKS + chunk;
}

fn b_down_at(i: u32) -> f32 {
  return 0.0f;
}

fn residual_at(i: u32) -> f32 {
  return 0.0f;
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

// Down projection that owns output rows: a workgroup makes ROWS outputs of one token from all its
// slots, multiplies the routing weights and adds bias and residual. Group g of LANES invocations
// takes the slots g, g + GROUPS, …; sums are joined once, in a fixed order. Grid: (rows, tokens).

var<workgroup> group_sums: array<vec4<f32>, GROUPS * QUADS>;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let token = group.y;
  let lane = index % LANES;
  let lane_group = index / LANES;
  let row = group.x * ROWS;
  //@repeat q QUADS
  var sum_$q = vec4<f32>();
  //@repeat c WIDTH
  let row_$q_$c = min(row + $q * 4u + $c, HIDDEN - 1u);
  //@end
  //@end
  for (var slot = lane_group; slot < TOP_K; slot += GROUPS) {
    let pair = token * TOP_K + slot;
    let expert = u32(selected[pair]);
    if (expert < FIRST_EXPERT || expert >= END_EXPERT) {
      continue;
    }
    let matrix = expert * HIDDEN;
    //@repeat q QUADS
    //@repeat c 4
    var product_$q_$c = 0.0;
    //@end
    //@end
    //@repeat z PASSES
    for (var base = FIRST_WORD_$z + lane; base < END_WORD_$z; base += LANES * UNROLL_$z) {
      //@repeat u UNROLL_$z
      let word_$u = base + $u * LANES;
      let at_$u = select(word_$u, min(word_$u, END_WORD_$z - 1u), ENDS_$z);
      //@repeat q QUADS
      //@repeat c WIDTH
      let w_$u_$q_$c = w_down_fetch(matrix + row_$q_$c, at_$u);
      //@end
      //@end
      //@end
      //@repeat u UNROLL_$z
      if (!ENDS_$z || word_$u < END_WORD_$z) {
        //@repeat p w_down_CHUNKS
        let x_$p = act_round(act_chunk(pair, w_down_place(word_$u, $p)), expert);
        //@repeat q QUADS
        //@repeat c WIDTH
        product_$q_$c += w_down_dot(w_$u_$q_$c, $p, x_$p);
        //@end
        //@end
        //@end
      }
      //@end
    }
    //@end
    let factor = output_factor_at(pair);
    //@repeat q QUADS
    if (lane == 0u) {
      //@repeat c WIDTH
      product_$q_$c += b_down_at(matrix + row_$q_$c);
      //@end
    }
    sum_$q += factor * vec4(product_$q_0, product_$q_1, product_$q_2, product_$q_3);
    //@end
  }
  //@repeat q QUADS
  let total_$q = lane_sum(sum_$q, index);
  if (lane == 0u) {
    group_sums[lane_group * QUADS + $q] = total_$q;
  }
  //@end
  workgroupBarrier();
  if (index < ROWS && row + index < HIDDEN) {
    let at = token * HIDDEN + row + index;
    var total = residual_at(at);
    for (var g = 0u; g < GROUPS; g++) {
      total += group_sums[g * QUADS + index / 4u][index % 4u];
    }
    y[at] = total;
  }
}
