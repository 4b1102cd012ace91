//@fragment moe/algorithms/matrix_gemm
//@needs BLOCK_K BLOCK_M BLOCK_N INVOCATIONS TILE_OUTPUTS MATRICES OUTPUTS TOP_K PLAN_PAIRS SOURCE TARGET
//@needs TEAM_M TEAM_N TEAMS_N TEAMS MATRIX_M MATRIX_N MATRIX_K ROWS_F COLUMNS_F STEPS_K A_ROUNDS B_ROUNDS
//@needs LAST_MATRIX w_CHUNKS w_WORDS tile_of step plan row_of Chunk rows_chunk w_Word w_fetch
//@needs rows_round w_unpack y finish STRIDE SLAB_STRIDE SLAB a_tile b_tile slab team_of
//@needs Result left_at right_at multiply keep
// Grouped GEMM over sorted pairs by matrices of a subgroup (tensor cores), f16 operands and f32 sums.
// A workgroup makes BLOCK_M rows × BLOCK_N weight rows of one expert, each of its teams (subgroups)
// TEAM_M × TEAM_N of them in ROWS_F × COLUMNS_F matrices. Both operands are staged in workgroup memory
// as halves; the next tile is loaded to registers while the current one is multiplied. For a gated
// expert a team's matrices alternate up, gate. Sums leave by workgroup memory, one row of matrices
// of each team at a time, because nobody knows which invocation has which element of a matrix.

const CHUNKS = BLOCK_K / 8u;
const B_WORDS = CHUNKS / w_CHUNKS;
const K_CHUNKS = w_WORDS * w_CHUNKS;
const K_TILES = (w_WORDS + B_WORDS - 1u) / B_WORDS;
const TEAM_OUTPUTS = TEAM_N / MATRICES;

fn put_a(at: u32, chunk: Chunk) {
  let lo = vec4<f16>(chunk.lo);
  let hi = vec4<f16>(chunk.hi);
  a_tile[at] = lo.x;
  a_tile[at + 1u] = lo.y;
  a_tile[at + 2u] = lo.z;
  a_tile[at + 3u] = lo.w;
  a_tile[at + 4u] = hi.x;
  a_tile[at + 5u] = hi.y;
  a_tile[at + 6u] = hi.z;
  a_tile[at + 7u] = hi.w;
}

fn put_b(at: u32, chunk: Chunk) {
  let lo = vec4<f16>(chunk.lo);
  let hi = vec4<f16>(chunk.hi);
  b_tile[at] = lo.x;
  b_tile[at + 1u] = lo.y;
  b_tile[at + 2u] = lo.z;
  b_tile[at + 3u] = lo.w;
  b_tile[at + 4u] = hi.x;
  b_tile[at + 5u] = hi.y;
  b_tile[at + 6u] = hi.z;
  b_tile[at + 7u] = hi.w;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
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
  let team = team_of(index, subgroup);
  let team_row = team / TEAMS_N * TEAM_M;
  let team_column = team % TEAMS_N * TEAM_N;
  // Pairs come first in a block: a team without one at its first row has none.
  let busy = plan[PLAN_PAIRS + first_position + team_row] < pairs;

  // What this invocation stages: chunks of A, words of B.
  //@repeat i A_ROUNDS
  let a_row_$i = (index + $i * INVOCATIONS) / CHUNKS;
  let a_chunk_$i = (index + $i * INVOCATIONS) % CHUNKS;
  let a_pair_$i = plan[PLAN_PAIRS + first_position + min(a_row_$i, BLOCK_M - 1u)];
  let a_valid_$i = a_row_$i < BLOCK_M && a_pair_$i < pairs;
  let a_source_$i = row_of(SOURCE, first_position + a_row_$i, min(a_pair_$i, pairs - 1u));
  var a_$i = Chunk();
  if (a_valid_$i && a_chunk_$i < K_CHUNKS) {
    a_$i = rows_chunk(a_source_$i, a_chunk_$i);
  }
  //@end
  //@repeat i B_ROUNDS
  let b_row_$i = (index + $i * INVOCATIONS) / B_WORDS;
  let b_word_$i = (index + $i * INVOCATIONS) % B_WORDS;
  let b_column_$i = b_row_$i % TEAM_N / MATRIX_N;
  let b_output_$i = first_output + b_row_$i / TEAM_N * TEAM_OUTPUTS +
    b_column_$i / MATRICES * MATRIX_N + b_row_$i % MATRIX_N;
  let b_source_$i = matrix + b_column_$i % MATRICES * OUTPUTS + min(b_output_$i, OUTPUTS - 1u);
  var b_$i = w_Word();
  if (b_row_$i < BLOCK_N && b_word_$i < w_WORDS) {
    b_$i = w_fetch(b_source_$i, b_word_$i);
  }
  //@end
  //@repeat m ROWS_F
  //@repeat n COLUMNS_F
  var sum_$m_$n = Result();
  //@end
  //@end

  for (var k = 0u; k < K_TILES; k++) {
    workgroupBarrier();
    //@repeat i A_ROUNDS
    if (a_row_$i < BLOCK_M) {
      put_a(a_row_$i * STRIDE + a_chunk_$i * 8u, rows_round(a_$i, expert));
    }
    //@end
    //@repeat i B_ROUNDS
    if (b_row_$i < BLOCK_N) {
      let at = b_row_$i * STRIDE + b_word_$i * (w_CHUNKS * 8u);
      //@repeat p w_CHUNKS
      put_b(at + $p * 8u, w_unpack(b_$i, $p));
      //@end
    }
    //@end
    workgroupBarrier();
    if (k + 1u < K_TILES) {
      //@repeat i A_ROUNDS
      a_$i = Chunk();
      if (a_valid_$i && (k + 1u) * CHUNKS + a_chunk_$i < K_CHUNKS) {
        a_$i = rows_chunk(a_source_$i, (k + 1u) * CHUNKS + a_chunk_$i);
      }
      //@end
      //@repeat i B_ROUNDS
      b_$i = w_Word();
      if (b_row_$i < BLOCK_N && (k + 1u) * B_WORDS + b_word_$i < w_WORDS) {
        b_$i = w_fetch(b_source_$i, (k + 1u) * B_WORDS + b_word_$i);
      }
      //@end
    }
    if (busy) {
      //@repeat s STEPS_K
      {
        //@repeat m ROWS_F
        let left_$m = left_at((team_row + $m * MATRIX_M) * STRIDE + $s * MATRIX_K);
        //@end
        //@repeat n COLUMNS_F
        {
          let right = right_at((team_column + $n * MATRIX_N) * STRIDE + $s * MATRIX_K);
          //@repeat m ROWS_F
          sum_$m_$n = multiply(left_$m, right, sum_$m_$n, index);
          //@end
        }
        //@end
      }
      //@end
    }
  }

  //@repeat m ROWS_F
  {
    workgroupBarrier();
    //@repeat n COLUMNS_F
    keep(team * SLAB + $n * MATRIX_N, sum_$m_$n, index);
    //@end
    workgroupBarrier();
    for (var e = index; e < TEAMS * (MATRIX_M * TEAM_OUTPUTS); e += INVOCATIONS) {
      let owner = e / (MATRIX_M * TEAM_OUTPUTS);
      let row = e / TEAM_OUTPUTS % MATRIX_M;
      let output = e % TEAM_OUTPUTS;
      let position = first_position + owner / TEAMS_N * TEAM_M + $m * MATRIX_M + row;
      let column = first_output + owner % TEAMS_N * TEAM_OUTPUTS + output;
      let pair = plan[PLAN_PAIRS + position];
      if (pair < pairs && column < OUTPUTS) {
        let at = owner * SLAB + row * SLAB_STRIDE + output / MATRIX_N * (MATRICES * MATRIX_N) +
          output % MATRIX_N;
        y[row_of(TARGET, position, pair) * OUTPUTS + column] = finish(
          slab[at], slab[at + LAST_MATRIX * MATRIX_N], matrix + column, pair,
        );
      }
    }
  }
  //@end
}
