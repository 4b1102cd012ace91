const rows_COLUMNS = 40u;
const w_COLUMNS = 40u;
const w_CHUNKS = 1u;
const w_WORDS = 5u;
const w_FIRST_ROW = 0u;
const FIRST_EXPERT = 0u;
const END_EXPERT = 6u;
const BLOCK_N = 32u;
const THREAD_M = 4u;
const THREAD_N = 4u;
const GROUP_M = 1u;
const INVOCATIONS = 32u;
const MATRICES = 2u;
const LAST_MATRIX = 1u;
const THREAD_OUTPUTS = 2u;
const LANES_USED = 4u;
const A_ROUNDS = 1u;
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
@group(0) @binding(2) var<storage, read> plan: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> step: vec4<u32>;

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
  return 0.0f;
}

fn activation(x: f32) -> f32 {
  // Beyond ±15 tanh is ±1 in f32; some drivers overflow inside tanh for large arguments.
  let inner = 0.7978845608 * fma(0.044715 * x * x, x, x);
  return 0.5 * x * (1.0 + tanh(clamp(inner, -15.0, 15.0)));
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

// Grouped GEMM without workgroup memory, for devices where a barrier costs more than a load: CPUs
// that play GPU. An invocation owns THREAD_M × THREAD_N sums; the lanes of a subgroup have the same
// rows and other weight rows. Each row of A is loaded by one lane and handed round by a broadcast;
// each weight is loaded by the lane that needs it.

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
  let first_row = index / COLUMNS_APART;
  let tn = index % COLUMNS_APART;

  // Row m of this invocation is row l of round g; lane l loads it.
  //@repeat g A_ROUNDS
  let row_$g = first_row + ($g * LANES_USED + index % LANES_USED) * ROWS_APART;
  let pair_$g = min(plan[PLAN_PAIRS + first_position + row_$g], pairs - 1u);
  let source_$g = row_of(SOURCE, first_position + row_$g, pair_$g);
  //@repeat l LANES_USED
  //@repeat o THREAD_OUTPUTS
  //@repeat t MATRICES
  var sum_$g_$l_$o_$t = 0.0;
  //@end
  //@end
  //@end
  //@end
  //@repeat o THREAD_OUTPUTS
  let output_$o = min(first_output + tn + $o * COLUMNS_APART, OUTPUTS - 1u);
  //@end

  for (var word = 0u; word < w_WORDS; word++) {
    //@repeat o THREAD_OUTPUTS
    //@repeat t MATRICES
    let w_$o_$t = w_fetch(matrix + $t * OUTPUTS + output_$o, word);
    //@end
    //@end
    //@repeat p w_CHUNKS
    {
      //@repeat o THREAD_OUTPUTS
      //@repeat t MATRICES
      let b_$o_$t = w_unpack(w_$o_$t, $p);
      //@end
      //@end
      //@repeat g A_ROUNDS
      let mine_$g = rows_round(rows_chunk(source_$g, w_place(word, $p)), expert);
      //@repeat l LANES_USED
      {
        let a = Chunk(subgroupBroadcast(mine_$g.lo, u32($l)), subgroupBroadcast(mine_$g.hi, u32($l)));
        //@repeat o THREAD_OUTPUTS
        //@repeat t MATRICES
        sum_$g_$l_$o_$t += chunk_dot(a, b_$o_$t);
        //@end
        //@end
      }
      //@end
      //@end
    }
    //@end
  }

  //@repeat g A_ROUNDS
  //@repeat l LANES_USED
  {
    let position = first_position + first_row + ($g * LANES_USED + $l) * ROWS_APART;
    let pair = plan[PLAN_PAIRS + position];
    if (pair < pairs) {
      let target_row = row_of(TARGET, position, pair) * OUTPUTS;
      //@repeat o THREAD_OUTPUTS
      let column_$o = first_output + tn + $o * COLUMNS_APART;
      if (column_$o < OUTPUTS) {
        y[target_row + column_$o] = finish(
          sum_$g_$l_$o_0, sum_$g_$l_$o_$LAST_MATRIX, matrix + column_$o, pair,
        );
      }
      //@end
    }
  }
  //@end
  //@end
}
