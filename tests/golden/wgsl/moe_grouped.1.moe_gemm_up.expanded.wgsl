const rows_COLUMNS = 40u;
const w_COLUMNS = 40u;
const w_CHUNKS = 1u;
const w_WORDS = 5u;
const w_FIRST_ROW = 0u;
const FIRST_EXPERT = 0u;
const END_EXPERT = 6u;
const BLOCK_N = 32u;
const THREAD_M = 2u;
const THREAD_N = 4u;
const GROUP_M = 2u;
const INVOCATIONS = 64u;
const MATRICES = 2u;
const LAST_MATRIX = 1u;
const THREAD_OUTPUTS = 2u;
const BLOCK_K = 16u;
const K_VECTORS = 4u;
const HEIGHTS = 2u;
const HEIGHT_0 = 2u;
const HEIGHT_1 = 1u;
const TILES = 2u;
const A_ROUNDS = 1u;
const B_ROUNDS = 1u;
const BLOCK_M = 16u;
const TOP_K = 2u;
const EXPERTS = 6u;
const PLAN_EXPERTS = 4u;
const PLAN_PAIRS = 13u;
const PLAN_SIZE = 157u;
const PLAN_POSITIONS = 157u;
const PADDING = 4294967295u;
const BY_TOKEN = 0u;
const BY_PAIR = 1u;
const BY_POSITION = 2u;
const OUTPUTS = 24u;
const SOURCE = 0u;
const TARGET = 1u;

@group(0) @binding(0) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> plan: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
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

fn input_factor_at(i: u32) -> f32 {
  return 1.0f;
}

fn bias_at(i: u32) -> f32 {
  return bias[i];
}

fn activation(x: f32) -> f32 {
  // exp is kept from overflowing: past 80 the quotient is 0 to every digit anyway.
  return x / (1.0 + exp(min(-x, 80.0)));
}

// What an expert does between its two products: `first` comes from w3 (up), `second` from w1 (gate).
fn expert_activation(first: f32, second: f32) -> f32 {
  return activation(second) * first;
}

// Epilogue of the first product; `row` is the row of the up projection in the stacked weight.
fn finish(first: f32, second: f32, row: u32, pair: u32) -> f32 {
  let factor = input_factor_at(pair);
  return expert_activation(
    first * factor + bias_at(row),
    second * factor + bias_at(row + (MATRICES - 1u) * OUTPUTS),
  );
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

// What tiles in workgroup memory are made of.
alias Operand = vec4<f32>;

// Grouped GEMM over sorted pairs: a workgroup makes BLOCK_M rows × BLOCK_N weight rows of one
// expert. Both operands are staged in workgroup memory along K, as they lie in memory, with one
// vector of padding a row so that 8 neighbouring rows (16 in f16) fall into different banks; what
// is read from there is f32 again before it is multiplied. An invocation owns THREAD_M × THREAD_N
// sums, spaced over the tile; for a gated expert its columns alternate up, gate. The next tile is
// loaded to registers while the current one is multiplied. With two TILES in workgroup memory one
// is written while others still read the other, which saves a barrier. A block that is at most half
// full computes half of the sums (HEIGHT_1).

const STRIDE = BLOCK_K / 4u + 1u;
const CHUNKS = BLOCK_K / 8u;
const B_WORDS = CHUNKS / w_CHUNKS;
const K_CHUNKS = w_WORDS * w_CHUNKS;
const K_TILES = (w_WORDS + B_WORDS - 1u) / B_WORDS;

// Rows are arrays of their own: naga clamps every index that is not a constant, and the clamp of a
// row number can leave the loops.
var<workgroup> a_tile: array<array<array<Operand, STRIDE>, BLOCK_M>, TILES>;
var<workgroup> b_tile: array<array<array<Operand, STRIDE>, BLOCK_N>, TILES>;

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
  let first_output = tile.column * TILE_OUTPUTS;
  let matrix = expert * (MATRICES * OUTPUTS);
  let pairs = step.x * TOP_K;

  // What this invocation stages: chunks of A, words of B.
  let a_row_0 = (index + 0 * INVOCATIONS) / CHUNKS;
  let a_chunk_0 = (index + 0 * INVOCATIONS) % CHUNKS;
  let a_pair_0 = plan[PLAN_PAIRS + first_position + min(a_row_0, BLOCK_M - 1u)];
  let a_valid_0 = a_row_0 < BLOCK_M && a_pair_0 < pairs;
  let a_source_0 = row_of(SOURCE, first_position + a_row_0, min(a_pair_0, pairs - 1u));
  var a_0 = Chunk();
  if (a_valid_0 && a_chunk_0 < K_CHUNKS) {
    a_0 = rows_chunk(a_source_0, w_place(a_chunk_0 / w_CHUNKS, a_chunk_0 % w_CHUNKS));
  }
  let b_row_0 = (index + 0 * INVOCATIONS) / B_WORDS;
  let b_word_0 = (index + 0 * INVOCATIONS) % B_WORDS;
  let b_column_0 = b_row_0 / COLUMNS_APART;
  let b_output_0 = first_output + b_column_0 / MATRICES * COLUMNS_APART + b_row_0 % COLUMNS_APART;
  let b_source_0 = matrix + b_column_0 % MATRICES * OUTPUTS + min(b_output_0, OUTPUTS - 1u);
  var b_0 = w_Word();
  if (b_row_0 < BLOCK_N && b_word_0 < w_WORDS) {
    b_0 = w_fetch(b_source_0, b_word_0);
  }
  var sum_0_0_0 = 0.0;
  var sum_0_0_1 = 0.0;
  var sum_0_1_0 = 0.0;
  var sum_0_1_1 = 0.0;
  var sum_1_0_0 = 0.0;
  var sum_1_0_1 = 0.0;
  var sum_1_1_0 = 0.0;
  var sum_1_1_1 = 0.0;
  let tm = index / COLUMNS_APART;
  let tn = index % COLUMNS_APART;
  // Pairs come first in a block; the lowest height that has all of them counts.
  var height = THREAD_M;
  if (HEIGHT_0 < THREAD_M && plan[PLAN_PAIRS + first_position + HEIGHT_0 * ROWS_APART] >= pairs) {
    height = HEIGHT_0;
  }
  if (HEIGHT_1 < THREAD_M && plan[PLAN_PAIRS + first_position + HEIGHT_1 * ROWS_APART] >= pairs) {
    height = HEIGHT_1;
  }

  for (var k = 0u; k < K_TILES; k++) {
    let side = k % TILES;
    if (TILES == 1u) {
      workgroupBarrier();
    }
    if (a_row_0 < BLOCK_M) {
      let chunk = rows_round(a_0, expert);
      a_tile[side][a_row_0][a_chunk_0 * 2u] = Operand(chunk.lo);
      a_tile[side][a_row_0][a_chunk_0 * 2u + 1u] = Operand(chunk.hi);
    }
    if (b_row_0 < BLOCK_N) {
      let at = b_word_0 * (w_CHUNKS * 2u);
      let chunk_0 = w_unpack(b_0, 0);
      b_tile[side][b_row_0][at + 0 * 2u] = Operand(chunk_0.lo);
      b_tile[side][b_row_0][at + 0 * 2u + 1u] = Operand(chunk_0.hi);
    }
    workgroupBarrier();
    if (k + 1u < K_TILES) {
      a_0 = Chunk();
      if (a_valid_0 && (k + 1u) * CHUNKS + a_chunk_0 < K_CHUNKS) {
        let next = (k + 1u) * CHUNKS + a_chunk_0;
        a_0 = rows_chunk(a_source_0, w_place(next / w_CHUNKS, next % w_CHUNKS));
      }
      b_0 = w_Word();
      if (b_row_0 < BLOCK_N && (k + 1u) * B_WORDS + b_word_0 < w_WORDS) {
        b_0 = w_fetch(b_source_0, (k + 1u) * B_WORDS + b_word_0);
      }
    }
    if (height == HEIGHT_0) {
      {
        let a_vector_0 = vec4<f32>(a_tile[side][tm + 0 * ROWS_APART][0]);
        let a_vector_1 = vec4<f32>(a_tile[side][tm + 1 * ROWS_APART][0]);
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 0) * COLUMNS_APART][0]);
          sum_0_0_0 += a_vector_0.x * b.x;
          sum_0_0_0 += a_vector_0.y * b.y;
          sum_0_0_0 += a_vector_0.z * b.z;
          sum_0_0_0 += a_vector_0.w * b.w;
          sum_1_0_0 += a_vector_1.x * b.x;
          sum_1_0_0 += a_vector_1.y * b.y;
          sum_1_0_0 += a_vector_1.z * b.z;
          sum_1_0_0 += a_vector_1.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 1) * COLUMNS_APART][0]);
          sum_0_0_1 += a_vector_0.x * b.x;
          sum_0_0_1 += a_vector_0.y * b.y;
          sum_0_0_1 += a_vector_0.z * b.z;
          sum_0_0_1 += a_vector_0.w * b.w;
          sum_1_0_1 += a_vector_1.x * b.x;
          sum_1_0_1 += a_vector_1.y * b.y;
          sum_1_0_1 += a_vector_1.z * b.z;
          sum_1_0_1 += a_vector_1.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 0) * COLUMNS_APART][0]);
          sum_0_1_0 += a_vector_0.x * b.x;
          sum_0_1_0 += a_vector_0.y * b.y;
          sum_0_1_0 += a_vector_0.z * b.z;
          sum_0_1_0 += a_vector_0.w * b.w;
          sum_1_1_0 += a_vector_1.x * b.x;
          sum_1_1_0 += a_vector_1.y * b.y;
          sum_1_1_0 += a_vector_1.z * b.z;
          sum_1_1_0 += a_vector_1.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 1) * COLUMNS_APART][0]);
          sum_0_1_1 += a_vector_0.x * b.x;
          sum_0_1_1 += a_vector_0.y * b.y;
          sum_0_1_1 += a_vector_0.z * b.z;
          sum_0_1_1 += a_vector_0.w * b.w;
          sum_1_1_1 += a_vector_1.x * b.x;
          sum_1_1_1 += a_vector_1.y * b.y;
          sum_1_1_1 += a_vector_1.z * b.z;
          sum_1_1_1 += a_vector_1.w * b.w;
        }
      }
      {
        let a_vector_0 = vec4<f32>(a_tile[side][tm + 0 * ROWS_APART][1]);
        let a_vector_1 = vec4<f32>(a_tile[side][tm + 1 * ROWS_APART][1]);
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 0) * COLUMNS_APART][1]);
          sum_0_0_0 += a_vector_0.x * b.x;
          sum_0_0_0 += a_vector_0.y * b.y;
          sum_0_0_0 += a_vector_0.z * b.z;
          sum_0_0_0 += a_vector_0.w * b.w;
          sum_1_0_0 += a_vector_1.x * b.x;
          sum_1_0_0 += a_vector_1.y * b.y;
          sum_1_0_0 += a_vector_1.z * b.z;
          sum_1_0_0 += a_vector_1.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 1) * COLUMNS_APART][1]);
          sum_0_0_1 += a_vector_0.x * b.x;
          sum_0_0_1 += a_vector_0.y * b.y;
          sum_0_0_1 += a_vector_0.z * b.z;
          sum_0_0_1 += a_vector_0.w * b.w;
          sum_1_0_1 += a_vector_1.x * b.x;
          sum_1_0_1 += a_vector_1.y * b.y;
          sum_1_0_1 += a_vector_1.z * b.z;
          sum_1_0_1 += a_vector_1.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 0) * COLUMNS_APART][1]);
          sum_0_1_0 += a_vector_0.x * b.x;
          sum_0_1_0 += a_vector_0.y * b.y;
          sum_0_1_0 += a_vector_0.z * b.z;
          sum_0_1_0 += a_vector_0.w * b.w;
          sum_1_1_0 += a_vector_1.x * b.x;
          sum_1_1_0 += a_vector_1.y * b.y;
          sum_1_1_0 += a_vector_1.z * b.z;
          sum_1_1_0 += a_vector_1.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 1) * COLUMNS_APART][1]);
          sum_0_1_1 += a_vector_0.x * b.x;
          sum_0_1_1 += a_vector_0.y * b.y;
          sum_0_1_1 += a_vector_0.z * b.z;
          sum_0_1_1 += a_vector_0.w * b.w;
          sum_1_1_1 += a_vector_1.x * b.x;
          sum_1_1_1 += a_vector_1.y * b.y;
          sum_1_1_1 += a_vector_1.z * b.z;
          sum_1_1_1 += a_vector_1.w * b.w;
        }
      }
      {
        let a_vector_0 = vec4<f32>(a_tile[side][tm + 0 * ROWS_APART][2]);
        let a_vector_1 = vec4<f32>(a_tile[side][tm + 1 * ROWS_APART][2]);
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 0) * COLUMNS_APART][2]);
          sum_0_0_0 += a_vector_0.x * b.x;
          sum_0_0_0 += a_vector_0.y * b.y;
          sum_0_0_0 += a_vector_0.z * b.z;
          sum_0_0_0 += a_vector_0.w * b.w;
          sum_1_0_0 += a_vector_1.x * b.x;
          sum_1_0_0 += a_vector_1.y * b.y;
          sum_1_0_0 += a_vector_1.z * b.z;
          sum_1_0_0 += a_vector_1.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 1) * COLUMNS_APART][2]);
          sum_0_0_1 += a_vector_0.x * b.x;
          sum_0_0_1 += a_vector_0.y * b.y;
          sum_0_0_1 += a_vector_0.z * b.z;
          sum_0_0_1 += a_vector_0.w * b.w;
          sum_1_0_1 += a_vector_1.x * b.x;
          sum_1_0_1 += a_vector_1.y * b.y;
          sum_1_0_1 += a_vector_1.z * b.z;
          sum_1_0_1 += a_vector_1.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 0) * COLUMNS_APART][2]);
          sum_0_1_0 += a_vector_0.x * b.x;
          sum_0_1_0 += a_vector_0.y * b.y;
          sum_0_1_0 += a_vector_0.z * b.z;
          sum_0_1_0 += a_vector_0.w * b.w;
          sum_1_1_0 += a_vector_1.x * b.x;
          sum_1_1_0 += a_vector_1.y * b.y;
          sum_1_1_0 += a_vector_1.z * b.z;
          sum_1_1_0 += a_vector_1.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 1) * COLUMNS_APART][2]);
          sum_0_1_1 += a_vector_0.x * b.x;
          sum_0_1_1 += a_vector_0.y * b.y;
          sum_0_1_1 += a_vector_0.z * b.z;
          sum_0_1_1 += a_vector_0.w * b.w;
          sum_1_1_1 += a_vector_1.x * b.x;
          sum_1_1_1 += a_vector_1.y * b.y;
          sum_1_1_1 += a_vector_1.z * b.z;
          sum_1_1_1 += a_vector_1.w * b.w;
        }
      }
      {
        let a_vector_0 = vec4<f32>(a_tile[side][tm + 0 * ROWS_APART][3]);
        let a_vector_1 = vec4<f32>(a_tile[side][tm + 1 * ROWS_APART][3]);
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 0) * COLUMNS_APART][3]);
          sum_0_0_0 += a_vector_0.x * b.x;
          sum_0_0_0 += a_vector_0.y * b.y;
          sum_0_0_0 += a_vector_0.z * b.z;
          sum_0_0_0 += a_vector_0.w * b.w;
          sum_1_0_0 += a_vector_1.x * b.x;
          sum_1_0_0 += a_vector_1.y * b.y;
          sum_1_0_0 += a_vector_1.z * b.z;
          sum_1_0_0 += a_vector_1.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 1) * COLUMNS_APART][3]);
          sum_0_0_1 += a_vector_0.x * b.x;
          sum_0_0_1 += a_vector_0.y * b.y;
          sum_0_0_1 += a_vector_0.z * b.z;
          sum_0_0_1 += a_vector_0.w * b.w;
          sum_1_0_1 += a_vector_1.x * b.x;
          sum_1_0_1 += a_vector_1.y * b.y;
          sum_1_0_1 += a_vector_1.z * b.z;
          sum_1_0_1 += a_vector_1.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 0) * COLUMNS_APART][3]);
          sum_0_1_0 += a_vector_0.x * b.x;
          sum_0_1_0 += a_vector_0.y * b.y;
          sum_0_1_0 += a_vector_0.z * b.z;
          sum_0_1_0 += a_vector_0.w * b.w;
          sum_1_1_0 += a_vector_1.x * b.x;
          sum_1_1_0 += a_vector_1.y * b.y;
          sum_1_1_0 += a_vector_1.z * b.z;
          sum_1_1_0 += a_vector_1.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 1) * COLUMNS_APART][3]);
          sum_0_1_1 += a_vector_0.x * b.x;
          sum_0_1_1 += a_vector_0.y * b.y;
          sum_0_1_1 += a_vector_0.z * b.z;
          sum_0_1_1 += a_vector_0.w * b.w;
          sum_1_1_1 += a_vector_1.x * b.x;
          sum_1_1_1 += a_vector_1.y * b.y;
          sum_1_1_1 += a_vector_1.z * b.z;
          sum_1_1_1 += a_vector_1.w * b.w;
        }
      }
    }
    if (height == HEIGHT_1) {
      {
        let a_vector_0 = vec4<f32>(a_tile[side][tm + 0 * ROWS_APART][0]);
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 0) * COLUMNS_APART][0]);
          sum_0_0_0 += a_vector_0.x * b.x;
          sum_0_0_0 += a_vector_0.y * b.y;
          sum_0_0_0 += a_vector_0.z * b.z;
          sum_0_0_0 += a_vector_0.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 1) * COLUMNS_APART][0]);
          sum_0_0_1 += a_vector_0.x * b.x;
          sum_0_0_1 += a_vector_0.y * b.y;
          sum_0_0_1 += a_vector_0.z * b.z;
          sum_0_0_1 += a_vector_0.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 0) * COLUMNS_APART][0]);
          sum_0_1_0 += a_vector_0.x * b.x;
          sum_0_1_0 += a_vector_0.y * b.y;
          sum_0_1_0 += a_vector_0.z * b.z;
          sum_0_1_0 += a_vector_0.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 1) * COLUMNS_APART][0]);
          sum_0_1_1 += a_vector_0.x * b.x;
          sum_0_1_1 += a_vector_0.y * b.y;
          sum_0_1_1 += a_vector_0.z * b.z;
          sum_0_1_1 += a_vector_0.w * b.w;
        }
      }
      {
        let a_vector_0 = vec4<f32>(a_tile[side][tm + 0 * ROWS_APART][1]);
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 0) * COLUMNS_APART][1]);
          sum_0_0_0 += a_vector_0.x * b.x;
          sum_0_0_0 += a_vector_0.y * b.y;
          sum_0_0_0 += a_vector_0.z * b.z;
          sum_0_0_0 += a_vector_0.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 1) * COLUMNS_APART][1]);
          sum_0_0_1 += a_vector_0.x * b.x;
          sum_0_0_1 += a_vector_0.y * b.y;
          sum_0_0_1 += a_vector_0.z * b.z;
          sum_0_0_1 += a_vector_0.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 0) * COLUMNS_APART][1]);
          sum_0_1_0 += a_vector_0.x * b.x;
          sum_0_1_0 += a_vector_0.y * b.y;
          sum_0_1_0 += a_vector_0.z * b.z;
          sum_0_1_0 += a_vector_0.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 1) * COLUMNS_APART][1]);
          sum_0_1_1 += a_vector_0.x * b.x;
          sum_0_1_1 += a_vector_0.y * b.y;
          sum_0_1_1 += a_vector_0.z * b.z;
          sum_0_1_1 += a_vector_0.w * b.w;
        }
      }
      {
        let a_vector_0 = vec4<f32>(a_tile[side][tm + 0 * ROWS_APART][2]);
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 0) * COLUMNS_APART][2]);
          sum_0_0_0 += a_vector_0.x * b.x;
          sum_0_0_0 += a_vector_0.y * b.y;
          sum_0_0_0 += a_vector_0.z * b.z;
          sum_0_0_0 += a_vector_0.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 1) * COLUMNS_APART][2]);
          sum_0_0_1 += a_vector_0.x * b.x;
          sum_0_0_1 += a_vector_0.y * b.y;
          sum_0_0_1 += a_vector_0.z * b.z;
          sum_0_0_1 += a_vector_0.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 0) * COLUMNS_APART][2]);
          sum_0_1_0 += a_vector_0.x * b.x;
          sum_0_1_0 += a_vector_0.y * b.y;
          sum_0_1_0 += a_vector_0.z * b.z;
          sum_0_1_0 += a_vector_0.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 1) * COLUMNS_APART][2]);
          sum_0_1_1 += a_vector_0.x * b.x;
          sum_0_1_1 += a_vector_0.y * b.y;
          sum_0_1_1 += a_vector_0.z * b.z;
          sum_0_1_1 += a_vector_0.w * b.w;
        }
      }
      {
        let a_vector_0 = vec4<f32>(a_tile[side][tm + 0 * ROWS_APART][3]);
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 0) * COLUMNS_APART][3]);
          sum_0_0_0 += a_vector_0.x * b.x;
          sum_0_0_0 += a_vector_0.y * b.y;
          sum_0_0_0 += a_vector_0.z * b.z;
          sum_0_0_0 += a_vector_0.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (0 * MATRICES + 1) * COLUMNS_APART][3]);
          sum_0_0_1 += a_vector_0.x * b.x;
          sum_0_0_1 += a_vector_0.y * b.y;
          sum_0_0_1 += a_vector_0.z * b.z;
          sum_0_0_1 += a_vector_0.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 0) * COLUMNS_APART][3]);
          sum_0_1_0 += a_vector_0.x * b.x;
          sum_0_1_0 += a_vector_0.y * b.y;
          sum_0_1_0 += a_vector_0.z * b.z;
          sum_0_1_0 += a_vector_0.w * b.w;
        }
        {
          let b = vec4<f32>(b_tile[side][tn + (1 * MATRICES + 1) * COLUMNS_APART][3]);
          sum_0_1_1 += a_vector_0.x * b.x;
          sum_0_1_1 += a_vector_0.y * b.y;
          sum_0_1_1 += a_vector_0.z * b.z;
          sum_0_1_1 += a_vector_0.w * b.w;
        }
      }
    }
  }

  let position_0 = first_position + tm + 0 * ROWS_APART;
  let pair_0 = plan[PLAN_PAIRS + position_0];
  if (pair_0 < pairs) {
    let target_row = row_of(TARGET, position_0, pair_0) * OUTPUTS;
    let column_0 = first_output + tn + 0 * COLUMNS_APART;
    if (column_0 < OUTPUTS) {
      y[target_row + column_0] = finish(
        sum_0_0_0, sum_0_0_1, matrix + column_0, pair_0,
      );
    }
    let column_1 = first_output + tn + 1 * COLUMNS_APART;
    if (column_1 < OUTPUTS) {
      y[target_row + column_1] = finish(
        sum_0_1_0, sum_0_1_1, matrix + column_1, pair_0,
      );
    }
  }
  let position_1 = first_position + tm + 1 * ROWS_APART;
  let pair_1 = plan[PLAN_PAIRS + position_1];
  if (pair_1 < pairs) {
    let target_row = row_of(TARGET, position_1, pair_1) * OUTPUTS;
    let column_0 = first_output + tn + 0 * COLUMNS_APART;
    if (column_0 < OUTPUTS) {
      y[target_row + column_0] = finish(
        sum_1_0_0, sum_1_0_1, matrix + column_0, pair_1,
      );
    }
    let column_1 = first_output + tn + 1 * COLUMNS_APART;
    if (column_1 < OUTPUTS) {
      y[target_row + column_1] = finish(
        sum_1_1_0, sum_1_1_1, matrix + column_1, pair_1,
      );
    }
  }
}
