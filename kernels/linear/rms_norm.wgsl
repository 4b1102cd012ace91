//@fragment linear/rms_norm
//@needs THREADS K EPS Lanes rows_of_step load_input store_total sum_put sum_meet sum_get y w
// y[m] = x[m] / sqrt(mean(x[m]²) + EPS) · w; before add_rms_norm x is x + residual, which is
// written as well.
//
// x, residual, y, total [rows, K] f32, w [K] f32
// Workgroup: THREADS invocations and one row.

@compute @workgroup_size(THREADS)
fn main(
  lanes: Lanes,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let row = group.x + group.y * groups.x;
  if (row >= rows_of_step()) {
    return;
  }
  var square = 0.0;
  for (var k = lanes.index; k < K; k += THREADS) {
    let x = load_input(row * K + k);
    store_total(row * K + k, x);
    square += x * x;
  }
  sum_put(0u, square, lanes);
  sum_meet(lanes);
  let scale = inverseSqrt(sum_get(0u, lanes) / f32(K) + EPS);
  for (var k = lanes.index; k < K; k += THREADS) {
    y[row * K + k] = load_input(row * K + k) * scale * w[k];
  }
}
