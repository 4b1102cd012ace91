//@fragment linear/gated_mlp
//@needs THREADS ROWS COLUMNS N Lanes columns_of_step w_multiply g_multiply sum_meet y activation
//@needs sum_get
// y[c, n] = activation(x[c] · g[n]) · (x[c] · w[n]) for few rows c of x: the first half of a gated
// MLP, whose two weights [N, K] are read side by side.
//
// Workgroup and constants as in gemv.wgsl, with g_* beside w_*; the products with g take the second
// half of the slots.

@compute @workgroup_size(THREADS)
fn main(
  lanes: Lanes,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let first = (group.x + group.y * groups.x) * ROWS;
  let first_column = group.z * COLUMNS;
  let columns = columns_of_step();
  if (first >= N || first_column >= columns) {
    return;
  }
  w_multiply(first, N, first_column, columns, 0u, lanes);
  g_multiply(first, N, first_column, columns, COLUMNS * ROWS, lanes);
  sum_meet(lanes);
  for (var i = lanes.index; i < COLUMNS * ROWS; i += THREADS) {
    let row = first + i % ROWS;
    let column = first_column + i / ROWS;
    if (row < N && column < columns) {
      y[column * N + row] = activation(sum_get(COLUMNS * ROWS + i, lanes)) * sum_get(i, lanes);
    }
  }
}
