//@fragment moe/algorithms/direct_gemm
//@needs INVOCATIONS BLOCK_M TILE_OUTPUTS MATRICES OUTPUTS TOP_K COLUMNS_APART LANES_USED ROWS_APART
//@needs PLAN_PAIRS SOURCE TARGET A_ROUNDS THREAD_OUTPUTS LAST_MATRIX tile_of step plan row_of
//@needs w_WORDS w_fetch w_unpack rows_round rows_chunk w_CHUNKS w_place Chunk chunk_dot y finish
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
