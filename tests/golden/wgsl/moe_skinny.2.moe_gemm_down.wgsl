const rows_COLUMNS = 24u;
const w_COLUMNS = 24u;
const w_CHUNKS = 1u;
const w_WORDS = 3u;
const w_FIRST_ROW = 0u;
const FIRST_EXPERT = 0u;
const END_EXPERT = 6u;
const BLOCK_N = 32u;
const THREAD_M = 8u;
const THREAD_N = 4u;
const GROUP_M = 2u;
const INVOCATIONS = 64u;
const MATRICES = 1u;
const LAST_MATRIX = 0u;
const THREAD_OUTPUTS = 4u;
const LANES = 8u;
const STEPS = 1u;
const ROW_QUADS = 2u;
const QUADS_0 = 1u;
const QUADS_1 = 2u;
const A_ROUNDS = 1u;
const BLOCK_M = 8u;
const TOP_K = 2u;
const EXPERTS = 6u;
const PLAN_EXPERTS = 4u;
const PLAN_PAIRS = 17u;
const PLAN_SIZE = 121u;
const PLAN_POSITIONS = 121u;
const PADDING = 4294967295u;
const BY_TOKEN = 0u;
const BY_PAIR = 1u;
const BY_POSITION = 2u;
const OUTPUTS = 40u;
const SOURCE = 1u;
const TARGET = 1u;

@group(0) @binding(0) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> output_factor: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> plan: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<uniform> step: vec4<u32>;

// Eight consecutive elements: the unit in which weights and activations are read.
struct Chunk { lo: vec4<f32>, hi: vec4<f32> }

fn chunk_dot(a: Chunk, b: Chunk) -> f32 {
  return dot(a.lo, b.lo) + dot(a.hi, b.hi);
}

fn chunk_scale(a: Chunk, factor: f32) -> Chunk {
  return Chunk(a.lo * factor, a.hi * factor);
}

// Rows of f32 activations, a multiple of 8 long, bound as array<vec4<f32>>.
fn rows_chunk(row: u32, chunk: u32) -> Chunk {
  let at = row * (rows_COLUMNS / 4u) + chunk * 2u;
  return Chunk(rows[at], rows[at + 1u]);
}

// Activations are multiplied as they are.
fn rows_round(value: Chunk, expert: u32) -> Chunk {
  return value;
}

// Weight rows of bf16, a multiple of 8 long, bound as array<vec4<u32>>.
alias w_Word = vec4<u32>;

fn w_fetch(row: u32, word: u32) -> w_Word {
  return w[(row - w_FIRST_ROW) * (w_COLUMNS / 8u) + word];
}

fn w_unpack(word: w_Word, chunk: u32) -> Chunk {
  let even = bitcast<vec4<f32>>(word << vec4(16u));
  let odd = bitcast<vec4<f32>>(word & vec4(0xffff0000u));
  return Chunk(vec4(even.x, odd.x, even.y, odd.y), vec4(even.z, odd.z, even.w, odd.w));
}

fn w_dot(word: w_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot(w_unpack(word, chunk), x);
}

// Which chunk of a row a chunk of a word is: the chunks of a word follow each other.
fn w_place(word: u32, chunk: u32) -> u32 {
  return word * w_CHUNKS + chunk;
}

fn output_factor_at(i: u32) -> f32 {
  return output_factor[i];
}

fn bias_at(i: u32) -> f32 {
  return bias[i];
}

// Epilogue of the second product.
fn finish(first: f32, second: f32, row: u32, pair: u32) -> f32 {
  return output_factor_at(pair) * (first + bias_at(row));
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

// What the grouped GEMMs share: which tile a workgroup makes, and where rows are.

const ROWS_APART = BLOCK_M / THREAD_M;
const COLUMNS_APART = BLOCK_N / THREAD_N;
const TILE_OUTPUTS = BLOCK_N / MATRICES;
const N_TILES = (OUTPUTS + TILE_OUTPUTS - 1u) / TILE_OUTPUTS;

// What a workgroup makes: a block of rows, all of one expert, and a column of tiles. Not used are
// those behind the last block, and blocks of experts that another dispatch has.
struct Tile { used: bool, block: u32, column: u32, expert: u32 }

// Tiles in an order that keeps GROUP_M row blocks together while the columns go by, so that weights
// and rows in use stay in the cache.
fn tile_of(group: vec3<u32>, groups: vec3<u32>) -> Tile {
  let id = group.x + group.y * groups.x;
  let blocks = plan[0];
  if (id >= blocks * N_TILES) {
    return Tile(false, 0u, 0u, 0u);
  }
  let in_group = GROUP_M * N_TILES;
  let first = (id / in_group) * GROUP_M;
  let height = min(blocks - first, GROUP_M);
  let rest = id % in_group;
  let block = first + rest % height;
  let expert = plan[PLAN_EXPERTS + block];
  return Tile(expert >= FIRST_EXPERT && expert < END_EXPERT, block, rest / height, expert);
}

fn row_of(kind: u32, position: u32, pair: u32) -> u32 {
  if (kind == BY_TOKEN) {
    return pair / TOP_K;
  }
  return select(position, pair, kind == BY_PAIR);
}

// Grouped GEMM for experts with few rows: reading weights is what takes time, so each weight goes
// straight from memory to the one invocation that needs it. LANES invocations share the depth of
// THREAD_N weight rows and hold sums for all BLOCK_M rows of the block; the rows are staged in
// workgroup memory, from which neighbouring groups of lanes read the same numbers. A block that is
// not full computes as many fours of rows as it has. All words of the next tile are on their way
// while the current one is multiplied: STEPS of each weight row, and the rows.

const TILE_WORDS = LANES * STEPS;
const TILE_CHUNKS = TILE_WORDS * w_CHUNKS;
const K_CHUNKS = w_WORDS * w_CHUNKS;
const K_TILES = (w_WORDS + TILE_WORDS - 1u) / TILE_WORDS;
// A word behind the end of a weight row counts as zeros: its rows are zeros too, but 0 · ∞ is not.
const HAS_TAIL = w_WORDS % TILE_WORDS != 0u;
const HALVES = w_CHUNKS * 2u;

// Of two tiles one is read while the other is written, so a tile takes one barrier. Halves of
// chunks lie apart, so that the vectors that lanes read together are neighbours.
var<workgroup> a_tile: array<array<array<array<vec4<f32>, TILE_WORDS>, HALVES>, BLOCK_M>, 2>;

fn half_of(chunk: Chunk, half: u32) -> vec4<f32> {
  if (half == 0u) {
    return chunk.lo;
  }
  return chunk.hi;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let tile = tile_of(group, groups);
  if (!tile.used) {
    return;
  }
  let expert = tile.expert;
  let first_position = tile.block * BLOCK_M;
  let lane = index % LANES;
  let first_output = tile.column * TILE_OUTPUTS + index / LANES * THREAD_OUTPUTS;
  let matrix = expert * (MATRICES * OUTPUTS);
  let pairs = step.x * TOP_K;

  //@repeat i A_ROUNDS
  let a_row_$i = (index + $i * INVOCATIONS) / TILE_CHUNKS;
  let a_chunk_$i = (index + $i * INVOCATIONS) % TILE_CHUNKS;
  let a_pair_$i = plan[PLAN_PAIRS + first_position + min(a_row_$i, BLOCK_M - 1u)];
  let a_valid_$i = a_row_$i < BLOCK_M && a_pair_$i < pairs;
  let a_source_$i = row_of(SOURCE, first_position + a_row_$i, min(a_pair_$i, pairs - 1u));
  var a_$i = Chunk();
  if (a_valid_$i && a_chunk_$i < K_CHUNKS) {
    a_$i = rows_chunk(a_source_$i, w_place(a_chunk_$i / w_CHUNKS, a_chunk_$i % w_CHUNKS));
  }
  //@end
  // Pairs come first in a block, so four rows are in use if the first of them is.
  var quads = 1u;
  //@repeat q ROW_QUADS
  if (plan[PLAN_PAIRS + first_position + $q * 4u] < pairs) {
    quads = $q + 1u;
  }
  //@end
  //@repeat o THREAD_OUTPUTS
  //@repeat t MATRICES
  let source_$o_$t = matrix + $t * OUTPUTS + min(first_output + $o, OUTPUTS - 1u);
  //@repeat s STEPS
  var w_$s_$o_$t: w_Word;
  if ($s * LANES + lane < w_WORDS) {
    w_$s_$o_$t = w_fetch(source_$o_$t, $s * LANES + lane);
  }
  //@end
  //@repeat q ROW_QUADS
  var sum_$o_$t_$q = vec4<f32>();
  //@end
  //@end
  //@end

  for (var k = 0u; k < K_TILES; k++) {
    let side = k % 2u;
    //@repeat i A_ROUNDS
    if (a_valid_$i) {
      let half = a_chunk_$i % w_CHUNKS * 2u;
      let chunk = rows_round(a_$i, expert);
      a_tile[side][a_row_$i][half][a_chunk_$i / w_CHUNKS] = chunk.lo;
      a_tile[side][a_row_$i][half + 1u][a_chunk_$i / w_CHUNKS] = chunk.hi;
    }
    //@end
    workgroupBarrier();
    if (k + 1u < K_TILES) {
      //@repeat i A_ROUNDS
      a_$i = Chunk();
      if (a_valid_$i && (k + 1u) * TILE_CHUNKS + a_chunk_$i < K_CHUNKS) {
        let next = (k + 1u) * TILE_CHUNKS + a_chunk_$i;
        a_$i = rows_chunk(a_source_$i, w_place(next / w_CHUNKS, next % w_CHUNKS));
      }
      //@end
    }
    //@repeat s STEPS
    {
      //@repeat o THREAD_OUTPUTS
      //@repeat t MATRICES
      let now_$o_$t = w_$s_$o_$t;
      //@end
      //@end
      let word = (k + 1u) * TILE_WORDS + $s * LANES + lane;
      if (word < w_WORDS) {
        //@repeat o THREAD_OUTPUTS
        //@repeat t MATRICES
        w_$s_$o_$t = w_fetch(source_$o_$t, word);
        //@end
        //@end
      } else if (HAS_TAIL) {
        //@repeat o THREAD_OUTPUTS
        //@repeat t MATRICES
        w_$s_$o_$t = w_Word();
        //@end
        //@end
      }
      //@repeat g ROW_QUADS
      if (quads == $g + 1u) {
        //@repeat p w_CHUNKS
        //@repeat h 2
        {
          //@repeat q QUADS_$g
          //@repeat r 4
          let a_$q_$r = a_tile[side][$q * 4u + $r][$p * 2u + $h][$s * LANES + lane];
          //@end
          let x_$q = vec4(a_$q_0.x, a_$q_1.x, a_$q_2.x, a_$q_3.x);
          let y_$q = vec4(a_$q_0.y, a_$q_1.y, a_$q_2.y, a_$q_3.y);
          let z_$q = vec4(a_$q_0.z, a_$q_1.z, a_$q_2.z, a_$q_3.z);
          let w_$q = vec4(a_$q_0.w, a_$q_1.w, a_$q_2.w, a_$q_3.w);
          //@end
          //@repeat o THREAD_OUTPUTS
          //@repeat t MATRICES
          {
            let b = half_of(w_unpack(now_$o_$t, $p), $h);
            //@repeat q QUADS_$g
            sum_$o_$t_$q = fma(x_$q, vec4(b.x), sum_$o_$t_$q);
            sum_$o_$t_$q = fma(y_$q, vec4(b.y), sum_$o_$t_$q);
            sum_$o_$t_$q = fma(z_$q, vec4(b.z), sum_$o_$t_$q);
            sum_$o_$t_$q = fma(w_$q, vec4(b.w), sum_$o_$t_$q);
            //@end
          }
          //@end
          //@end
        }
        //@end
        //@end
      }
      //@end
    }
    //@end
  }

  // Lane r finishes row r of each four.
  //@repeat q ROW_QUADS
  {
    //@repeat o THREAD_OUTPUTS
    //@repeat t MATRICES
    let total_$o_$t = lane_sum(sum_$o_$t_$q, index);
    //@end
    //@end
    let r = lane % 4u;
    let position = first_position + $q * 4u + r;
    let pair = plan[PLAN_PAIRS + position];
    if (lane < 4u && pair < pairs) {
      let target_row = row_of(TARGET, position, pair) * OUTPUTS;
      //@repeat o THREAD_OUTPUTS
      if (first_output + $o < OUTPUTS) {
        y[target_row + first_output + $o] = finish(
          total_$o_0[r], total_$o_$LAST_MATRIX[r], matrix + first_output + $o, pair,
        );
      }
      //@end
    }
  }
  //@end
}
