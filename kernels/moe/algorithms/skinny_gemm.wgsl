//@fragment moe/algorithms/skinny_gemm
//@needs LANES STEPS BLOCK_M INVOCATIONS TILE_OUTPUTS THREAD_OUTPUTS MATRICES OUTPUTS TOP_K
//@needs PLAN_PAIRS SOURCE TARGET A_ROUNDS ROW_QUADS LAST_MATRIX w_CHUNKS w_WORDS Chunk tile_of step
//@needs plan row_of rows_chunk w_Word w_fetch w_place rows_round w_unpack lane_sum y finish QUADS_$i
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
