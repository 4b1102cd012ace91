const act_COLUMNS = 24u;
const w_down_COLUMNS = 24u;
const w_down_CHUNKS = 1u;
const w_down_WORDS = 3u;
const w_down_FIRST_ROW = 0u;
const FIRST_EXPERT = 0u;
const END_EXPERT = 6u;
const LANES = 8u;
const QUADS = 1u;
const WIDTH = 4u;
const ROWS = 4u;
const GROUPS = 2u;
const INVOCATIONS = 16u;
const COLUMNS = 3u;
const MAX_PAIRS = 32u;
const MAX_TOKENS = 16u;
const HIDDEN = 40u;
const INTERMEDIATE = 24u;
const TOP_K = 2u;
const MATRICES = 2u;

@group(0) @binding(0) var<storage, read> act: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> selected: array<i32>;
@group(0) @binding(2) var<storage, read> output_factor: array<f32>;
@group(0) @binding(3) var<storage, read> w_down: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> b_down: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<uniform> step: vec4<u32>;

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
  return b_down[i];
}

fn residual_at(i: u32) -> f32 {
  return residual[i];
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

// Down projection that owns ROWS output rows of all tokens: the pairs are sorted by expert, so that
// each expert's weights are read once and applied to its pairs, COLUMNS at a time. The batches go
// round the GROUPS groups of LANES invocations. Every invocation keeps sums of its own in workgroup
// memory; they are joined once, in a fixed order. Grid: (rows).

const OUTPUT_QUADS = MAX_TOKENS * QUADS;
const KEY_QUADS = (MAX_PAIRS + 3u) / 4u;
// Expert and pair in one number, so that sorting by it is stable; NO_KEY sorts behind all others.
const PAIR_BITS = 16u;
const NO_KEY = 0xffffffffu;

var<workgroup> keys: array<vec4<u32>, KEY_QUADS>;
var<workgroup> sorted: array<u32, KEY_QUADS * 4u>;
var<workgroup> valid_count: atomic<u32>;
var<workgroup> sums: array<vec4<f32>, OUTPUT_QUADS * INVOCATIONS>;

fn key_of(pair: u32) -> u32 {
  if (pair >= step.x * TOP_K) {
    return NO_KEY;
  }
  let expert = u32(selected[pair]);
  if (expert < FIRST_EXPERT || expert >= END_EXPERT) {
    return NO_KEY;
  }
  return (expert << PAIR_BITS) | pair;
}

// Sorts by counting the smaller keys of each: a few dozen pairs, every workgroup for itself.
fn sort_pairs(index: u32) {
  for (var quad = index; quad < KEY_QUADS; quad += INVOCATIONS) {
    let first = quad * 4u;
    keys[quad] = vec4(key_of(first), key_of(first + 1u), key_of(first + 2u), key_of(first + 3u));
  }
  workgroupBarrier();
  for (var i = index; i < KEY_QUADS * 4u; i += INVOCATIONS) {
    let key = keys[i / 4u][i % 4u];
    if (key != NO_KEY) {
      var smaller = vec4<u32>();
      for (var quad = 0u; quad < KEY_QUADS; quad++) {
        smaller += vec4<u32>(keys[quad] < vec4(key));
      }
      sorted[smaller.x + smaller.y + smaller.z + smaller.w] = key;
      atomicAdd(&valid_count, 1u);
    }
  }
  workgroupBarrier();
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  sort_pairs(index);
  let valid = atomicLoad(&valid_count);
  let lane = index % LANES;
  let lane_group = index / LANES;
  let row = group.x * ROWS;
  //@repeat q QUADS
  //@repeat c 4
  let row_$q_$c = min(row + $q * 4u + $c, HIDDEN - 1u);
  //@end
  //@end
  var batch = 0u;
  var first = 0u;
  while (first < valid) {
    let expert = sorted[first] >> PAIR_BITS;
    var end = first + 1u;
    while (end < min(first + COLUMNS, valid) && sorted[end] >> PAIR_BITS == expert) {
      end++;
    }
    if (batch % GROUPS == lane_group) {
      let matrix = expert * HIDDEN;
      //@repeat n COLUMNS
      let pair_$n = sorted[min(first + $n, end - 1u)] & ((1u << PAIR_BITS) - 1u);
      //@repeat q QUADS
      var sum_$n_$q = vec4<f32>();
      //@end
      //@end
      for (var word = lane; word < w_down_WORDS; word += LANES) {
        //@repeat q QUADS
        //@repeat c 4
        let w_$q_$c = w_down_fetch(matrix + row_$q_$c, word);
        //@end
        //@end
        //@repeat p w_down_CHUNKS
        //@repeat n COLUMNS
        let x_$p_$n = act_round(act_chunk(pair_$n, w_down_place(word, $p)), expert);
        //@end
        //@repeat q QUADS
        {
          let w0 = w_down_unpack(w_$q_0, $p);
          let w1 = w_down_unpack(w_$q_1, $p);
          let w2 = w_down_unpack(w_$q_2, $p);
          let w3 = w_down_unpack(w_$q_3, $p);
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
      if (first + $n < end) {
        let factor = output_factor_at(pair_$n);
        //@repeat q QUADS
        if (lane == 0u) {
          sum_$n_$q += vec4(
            b_down_at(matrix + row_$q_0), b_down_at(matrix + row_$q_1),
            b_down_at(matrix + row_$q_2), b_down_at(matrix + row_$q_3),
          );
        }
        sums[(pair_$n / TOP_K * QUADS + $q) * INVOCATIONS + index] += factor * sum_$n_$q;
        //@end
      }
      //@end
    }
    first = end;
    batch++;
  }
  workgroupBarrier();
  for (var base = 0u; base < OUTPUT_QUADS; base += GROUPS) {
    let quad = base + lane_group;
    var total = vec4<f32>();
    if (quad < OUTPUT_QUADS) {
      for (var g = 0u; g < GROUPS; g++) {
        total += sums[quad * INVOCATIONS + g * LANES + lane];
      }
    }
    total = lane_sum(total, index);
    let token = quad / QUADS;
    let column = row + (quad % QUADS) * 4u + lane;
    if (lane < 4u && column < HIDDEN && token < step.x) {
      let at = token * HIDDEN + column;
      y[at] = residual_at(at) + total[lane];
    }
  }
}
