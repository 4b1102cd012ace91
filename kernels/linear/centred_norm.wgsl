//@fragment linear/centred_norm
//@needs THREADS Lanes rows_of_step CENTRED K x sum_put sum_meet sum_get EPS y weight_at bias_at
// Norms besides RMSNorm, row by row: y = (x - mean) / sqrt(variance + EPS) · w + bias, the mean 0 when
// CENTRED is false.
//
// x, y [rows, K] f32
// Workgroup: THREADS threads and one row.

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
  var mean = 0.0;
  if (CENTRED) {
    var part = 0.0;
    for (var k = lanes.index; k < K; k += THREADS) {
      part += x[row * K + k];
    }
    sum_put(0u, part, lanes);
    sum_meet(lanes);
    mean = sum_get(0u, lanes) / f32(K);
    workgroupBarrier();
  }
  var square = 0.0;
  for (var k = lanes.index; k < K; k += THREADS) {
    let centred = x[row * K + k] - mean;
    square += centred * centred;
  }
  sum_put(0u, square, lanes);
  sum_meet(lanes);
  let scale = inverseSqrt(sum_get(0u, lanes) / f32(K) + EPS);
  for (var k = lanes.index; k < K; k += THREADS) {
    y[row * K + k] = (x[row * K + k] - mean) * scale * weight_at(k) + bias_at(k);
  }
}
