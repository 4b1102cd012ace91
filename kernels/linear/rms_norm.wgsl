//@fragment linear/rms_norm
//@needs INVOCATIONS K EPS Invocation rows_of_step load_input store_total sum_share sum_join
//@needs sum_result y w
// y[m] = x[m] / sqrt(mean(x[m]²) + EPS) · w; before add_rms_norm x is x + residual, which is
// written as well.
//
// x, residual, y, total [rows, K] f32, w [K] f32
// Workgroup: INVOCATIONS invocations and one row.

@compute @workgroup_size(INVOCATIONS)
fn main(
  invocation: Invocation,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let row = group.x + group.y * groups.x;
  if (row >= rows_of_step()) {
    return;
  }
  var square = 0.0;
  for (var k = invocation.index; k < K; k += INVOCATIONS) {
    let x = load_input(row * K + k);
    store_total(row * K + k, x);
    square += x * x;
  }
  sum_share(0u, square, invocation);
  sum_join(invocation);
  let scale = inverseSqrt(sum_result(0u, invocation) / f32(K) + EPS);
  for (var k = invocation.index; k < K; k += INVOCATIONS) {
    y[row * K + k] = load_input(row * K + k) * scale * w[k];
  }
}
