//@fragment linear/gemv
//@needs INVOCATIONS N_FIRST ROWS COLUMNS N_END NORM SQUARES EPS N Invocation columns_of_step
//@needs w_multiply sum_join sum_result w_COLUMNS y bias_at residual_at
// y[c, n] = (rms_norm(x)[c] · w[n] + bias[n]) + residual[c, n] for few rows c of x.
//
// w        [N, K] in any weight format; read once for every COLUMNS rows of x
// x        [columns, K] f32; norm_weight [K] f32 with NORM
// y        [columns, N] f32
//
// A workgroup owns ROWS rows of w and COLUMNS rows of x (columns of the product); its INVOCATIONS
// invocations share the words of the rows. The norm costs no pass of its own: Σ w·(x·n) and Σ x²
// come from the same reading of x, and 1/rms multiplies the finished sum.
//
// This dispatch has the rows N_FIRST to N_END - 1 of w.

@compute @workgroup_size(INVOCATIONS)
fn main(
  invocation: Invocation,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let first = N_FIRST + (group.x + group.y * groups.x) * ROWS;
  let first_column = group.z * COLUMNS;
  let columns = columns_of_step();
  if (first >= N_END || first_column >= columns) {
    return;
  }
  w_multiply(first, N_END, first_column, columns, 0u, invocation);
  sum_join(invocation);
  for (var i = invocation.index; i < COLUMNS * ROWS; i += INVOCATIONS) {
    let row = first + i % ROWS;
    let column = first_column + i / ROWS;
    if (row < N_END && column < columns) {
      var total = sum_result(i, invocation);
      if (NORM) {
        total *= inverseSqrt(sum_result(SQUARES + i / ROWS, invocation) / f32(w_COLUMNS) + EPS);
      }
      let at = column * N + row;
      y[at] = total + bias_at(row) + residual_at(at);
    }
  }
}
