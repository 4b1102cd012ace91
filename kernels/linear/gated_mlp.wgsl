//@fragment linear/gated_mlp
//@needs INVOCATIONS ROWS COLUMNS N Invocation columns_of_step w_multiply g_multiply sum_join y
//@needs activation sum_result
// y[c, n] = activation(x[c] · g[n]) · (x[c] · w[n]) for few rows c of x: the first half of a gated
// MLP, whose two weights [N, K] are read side by side.
//
// Workgroup and constants as in gemv.wgsl, with g_* beside w_*; the products with g take the second
// half of the slots.

@compute @workgroup_size(INVOCATIONS)
fn main(
  invocation: Invocation,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let first = (group.x + group.y * groups.x) * ROWS;
  let first_column = group.z * COLUMNS;
  let columns = columns_of_step();
  if (first >= N || first_column >= columns) {
    return;
  }
  w_multiply(first, N, first_column, columns, 0u, invocation);
  g_multiply(first, N, first_column, columns, COLUMNS * ROWS, invocation);
  sum_join(invocation);
  for (var i = invocation.index; i < COLUMNS * ROWS; i += INVOCATIONS) {
    let row = first + i % ROWS;
    let column = first_column + i / ROWS;
    if (row < N && column < columns) {
      y[column * N + row] = activation(sum_result(COLUMNS * ROWS + i, invocation)) * sum_result(i, invocation);
    }
  }
}
