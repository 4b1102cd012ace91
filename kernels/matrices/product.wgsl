//@fragment matrices/product
//@needs BLOCK_M BLOCK_N INVOCATIONS MATRICES OUTPUTS LAST_MATRIX A_ROUNDS B_ROUNDS A_WHOLE B_WHOLE K_WHOLE
//@needs TEAM_M TEAM_N TEAMS_N TEAMS MATRIX_M MATRIX_N MATRIX_K ROWS_F COLUMNS_F STEPS_K K_TILES
//@needs ROW_CHUNKS w_CHUNKS w_WORDS w_Word w_fetch w_unpack halves halves_of NO_ROW block_of left_row
//@needs put CHUNKS STRIDE RIGHT SUMS_STRIDE SUMS operands Result team_of $MATRIX_WORDS
// Products by matrices of a subgroup (tensor cores), f16 operands and f32 sums. A workgroup makes
// BLOCK_M rows × BLOCK_N weight rows, each of its teams (subgroups) TEAM_M × TEAM_N of them in
// ROWS_F × COLUMNS_F matrices. Both operands are staged in workgroup memory as halves; the next tile is
// loaded to registers while the current one is multiplied. With two MATRICES (up and gate) those of a
// team alternate. Sums leave by workgroup memory, one row of matrices of each team at a time, because
// nobody knows which invocation has which element of a matrix.
//
// The number of a team has a bound that compilers can see: without it Tint guards every load of a
// matrix by a branch, which takes a fifth of the speed.

const B_WORDS = CHUNKS / w_CHUNKS;
const TEAM_OUTPUTS = TEAM_N / MATRICES;
const TEAM_QUADS = TEAM_OUTPUTS / 4u;
const MATRIX_QUADS = MATRIX_N / 4u;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  let block = block_of(group, groups);
  if (!block.used) {
    return;
  }
  let team = min(team_of(index, subgroup), TEAMS - 1u);
  let left = team / TEAMS_N * (TEAM_M * STRIDE);
  let right = RIGHT + team % TEAMS_N * (TEAM_N * STRIDE);

  // What this invocation stages: chunks of rows, words of weights.
  //@repeat i A_ROUNDS
  let a_row_$i = (index + $i * INVOCATIONS) / CHUNKS;
  let a_chunk_$i = (index + $i * INVOCATIONS) % CHUNKS;
  let a_source_$i = left_row(block.row + min(a_row_$i, BLOCK_M - 1u));
  let a_used_$i = (A_WHOLE || a_row_$i < BLOCK_M) && a_source_$i != NO_ROW;
  let a_at_$i = a_source_$i * ROW_CHUNKS + a_chunk_$i;
  var a_$i = vec4<u32>();
  if (a_used_$i) {
    a_$i = halves[a_at_$i];
  }
  //@end
  //@repeat i B_ROUNDS
  let b_row_$i = (index + $i * INVOCATIONS) / B_WORDS;
  let b_word_$i = (index + $i * INVOCATIONS) % B_WORDS;
  let b_column_$i = b_row_$i % TEAM_N / MATRIX_N;
  let b_output_$i = block.output + b_row_$i / TEAM_N * TEAM_OUTPUTS +
    b_column_$i / MATRICES * MATRIX_N + b_row_$i % MATRIX_N;
  let b_source_$i = block.weight + b_column_$i % MATRICES * OUTPUTS +
    min(b_output_$i, block.outputs_end - 1u);
  var b_$i = w_Word();
  if ((B_WHOLE || b_row_$i < BLOCK_N) && (K_WHOLE || b_word_$i < w_WORDS)) {
    b_$i = w_fetch(b_source_$i, b_word_$i);
  }
  //@end
  //@repeat m ROWS_F
  //@repeat n COLUMNS_F
  var sum_$m_$n = Result();
  //@end
  //@end

  for (var k = 1u; k <= K_TILES; k++) {
    workgroupBarrier();
    //@repeat i A_ROUNDS
    if (A_WHOLE || a_row_$i < BLOCK_M) {
      operands[a_row_$i * STRIDE + a_chunk_$i] = a_$i;
    }
    //@end
    //@repeat i B_ROUNDS
    if (B_WHOLE || b_row_$i < BLOCK_N) {
      //@repeat p w_CHUNKS
      operands[RIGHT + b_row_$i * STRIDE + b_word_$i * w_CHUNKS + $p] = halves_of(w_unpack(b_$i, $p));
      //@end
    }
    //@end
    workgroupBarrier();
    if (k < K_TILES) {
      //@repeat i A_ROUNDS
      a_$i = vec4<u32>();
      if (a_used_$i) {
        a_$i = halves[a_at_$i + k * CHUNKS];
      }
      //@end
      //@repeat i B_ROUNDS
      if (K_WHOLE || k * B_WORDS + b_word_$i < w_WORDS) {
        if (B_WHOLE || b_row_$i < BLOCK_N) {
          b_$i = w_fetch(b_source_$i, k * B_WORDS + b_word_$i);
        }
      } else {
        b_$i = w_Word();
      }
      //@end
    }
    //@repeat s STEPS_K
    {
      //@repeat m ROWS_F
      let left_$m = $LOAD_LEFT(
        $OPERANDS left + $m * MATRIX_M * STRIDE + $s * (MATRIX_K / 8u), STRIDE,
      );
      //@end
      //@repeat n COLUMNS_F
      {
        let right = $LOAD_RIGHT(
          $OPERANDS right + $n * MATRIX_N * STRIDE + $s * (MATRIX_K / 8u), STRIDE,
        );
        //@repeat m ROWS_F
        sum_$m_$n = $MULTIPLY(left_$m, right, sum_$m_$n);
        //@end
      }
      //@end
    }
    //@end
  }

  //@repeat m ROWS_F
  {
    workgroupBarrier();
    //@repeat n COLUMNS_F
    $STORE($OPERANDS team * SUMS + $n * MATRIX_QUADS, sum_$m_$n, SUMS_STRIDE);
    //@end
    workgroupBarrier();
    for (var e = index; e < TEAMS * (MATRIX_M * TEAM_QUADS); e += INVOCATIONS) {
      let owner = e / (MATRIX_M * TEAM_QUADS);
      let row = e / TEAM_QUADS % MATRIX_M;
      let quad = e % TEAM_QUADS;
      let at = owner * SUMS + row * SUMS_STRIDE + quad / MATRIX_QUADS * (MATRICES * MATRIX_QUADS) +
        quad % MATRIX_QUADS;
      put(
        block,
        block.row + owner / TEAMS_N * TEAM_M + $m * MATRIX_M + row,
        block.output + owner % TEAMS_N * TEAM_OUTPUTS + quad * 4u,
        bitcast<vec4<f32>>(operands[at]),
        bitcast<vec4<f32>>(operands[at + LAST_MATRIX * MATRIX_QUADS]),
      );
    }
  }
  //@end
}
