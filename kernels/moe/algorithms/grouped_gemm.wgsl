//@fragment moe/algorithms/grouped_gemm
//@needs BLOCK_K BLOCK_M TILES BLOCK_N INVOCATIONS TILE_OUTPUTS MATRICES OUTPUTS TOP_K PLAN_PAIRS
//@needs SOURCE COLUMNS_APART THREAD_M ROWS_APART TARGET A_ROUNDS B_ROUNDS THREAD_OUTPUTS HEIGHTS
//@needs K_VECTORS LAST_MATRIX w_CHUNKS w_WORDS Operand tile_of step plan row_of Chunk rows_chunk
//@needs w_Word w_fetch w_place HEIGHT_$i rows_round w_unpack y finish
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
  //@repeat i A_ROUNDS
  let a_row_$i = (index + $i * INVOCATIONS) / CHUNKS;
  let a_chunk_$i = (index + $i * INVOCATIONS) % CHUNKS;
  let a_pair_$i = plan[PLAN_PAIRS + first_position + min(a_row_$i, BLOCK_M - 1u)];
  let a_valid_$i = a_row_$i < BLOCK_M && a_pair_$i < pairs;
  let a_source_$i = row_of(SOURCE, first_position + a_row_$i, min(a_pair_$i, pairs - 1u));
  var a_$i = Chunk();
  if (a_valid_$i && a_chunk_$i < K_CHUNKS) {
    a_$i = rows_chunk(a_source_$i, w_place(a_chunk_$i / w_CHUNKS, a_chunk_$i % w_CHUNKS));
  }
  //@end
  //@repeat i B_ROUNDS
  let b_row_$i = (index + $i * INVOCATIONS) / B_WORDS;
  let b_word_$i = (index + $i * INVOCATIONS) % B_WORDS;
  let b_column_$i = b_row_$i / COLUMNS_APART;
  let b_output_$i = first_output + b_column_$i / MATRICES * COLUMNS_APART + b_row_$i % COLUMNS_APART;
  let b_source_$i = matrix + b_column_$i % MATRICES * OUTPUTS + min(b_output_$i, OUTPUTS - 1u);
  var b_$i = w_Word();
  if (b_row_$i < BLOCK_N && b_word_$i < w_WORDS) {
    b_$i = w_fetch(b_source_$i, b_word_$i);
  }
  //@end
  //@repeat m THREAD_M
  //@repeat o THREAD_OUTPUTS
  //@repeat t MATRICES
  var sum_$m_$o_$t = 0.0;
  //@end
  //@end
  //@end
  let tm = index / COLUMNS_APART;
  let tn = index % COLUMNS_APART;
  // Pairs come first in a block; the lowest height that has all of them counts.
  var height = THREAD_M;
  //@repeat h HEIGHTS
  if (HEIGHT_$h < THREAD_M && plan[PLAN_PAIRS + first_position + HEIGHT_$h * ROWS_APART] >= pairs) {
    height = HEIGHT_$h;
  }
  //@end

  for (var k = 0u; k < K_TILES; k++) {
    let side = k % TILES;
    if (TILES == 1u) {
      workgroupBarrier();
    }
    //@repeat i A_ROUNDS
    if (a_row_$i < BLOCK_M) {
      let chunk = rows_round(a_$i, expert);
      a_tile[side][a_row_$i][a_chunk_$i * 2u] = Operand(chunk.lo);
      a_tile[side][a_row_$i][a_chunk_$i * 2u + 1u] = Operand(chunk.hi);
    }
    //@end
    //@repeat i B_ROUNDS
    if (b_row_$i < BLOCK_N) {
      let at = b_word_$i * (w_CHUNKS * 2u);
      //@repeat p w_CHUNKS
      let chunk_$p = w_unpack(b_$i, $p);
      b_tile[side][b_row_$i][at + $p * 2u] = Operand(chunk_$p.lo);
      b_tile[side][b_row_$i][at + $p * 2u + 1u] = Operand(chunk_$p.hi);
      //@end
    }
    //@end
    workgroupBarrier();
    if (k + 1u < K_TILES) {
      //@repeat i A_ROUNDS
      a_$i = Chunk();
      if (a_valid_$i && (k + 1u) * CHUNKS + a_chunk_$i < K_CHUNKS) {
        let next = (k + 1u) * CHUNKS + a_chunk_$i;
        a_$i = rows_chunk(a_source_$i, w_place(next / w_CHUNKS, next % w_CHUNKS));
      }
      //@end
      //@repeat i B_ROUNDS
      b_$i = w_Word();
      if (b_row_$i < BLOCK_N && (k + 1u) * B_WORDS + b_word_$i < w_WORDS) {
        b_$i = w_fetch(b_source_$i, (k + 1u) * B_WORDS + b_word_$i);
      }
      //@end
    }
    //@repeat h HEIGHTS
    if (height == HEIGHT_$h) {
      //@repeat v K_VECTORS
      {
        //@repeat m HEIGHT_$h
        let a_vector_$m = vec4<f32>(a_tile[side][tm + $m * ROWS_APART][$v]);
        //@end
        //@repeat o THREAD_OUTPUTS
        //@repeat t MATRICES
        {
          let b = vec4<f32>(b_tile[side][tn + ($o * MATRICES + $t) * COLUMNS_APART][$v]);
          //@repeat m HEIGHT_$h
          sum_$m_$o_$t += a_vector_$m.x * b.x;
          sum_$m_$o_$t += a_vector_$m.y * b.y;
          sum_$m_$o_$t += a_vector_$m.z * b.z;
          sum_$m_$o_$t += a_vector_$m.w * b.w;
          //@end
        }
        //@end
        //@end
      }
      //@end
    }
    //@end
  }

  //@repeat m THREAD_M
  let position_$m = first_position + tm + $m * ROWS_APART;
  let pair_$m = plan[PLAN_PAIRS + position_$m];
  if (pair_$m < pairs) {
    let target_row = row_of(TARGET, position_$m, pair_$m) * OUTPUTS;
    //@repeat o THREAD_OUTPUTS
    let column_$o = first_output + tn + $o * COLUMNS_APART;
    if (column_$o < OUTPUTS) {
      y[target_row + column_$o] = finish(
        sum_$m_$o_0, sum_$m_$o_$LAST_MATRIX, matrix + column_$o, pair_$m,
      );
    }
    //@end
  }
  //@end
}
