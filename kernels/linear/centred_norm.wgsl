//@fragment linear/centred_norm
//@needs INVOCATIONS CENTRED K EPS Invocation rows_of_step x sum_share sum_join sum_result y
//@needs weight_at bias_at
// Norms besides RMSNorm, row by row: y = (x - mean) / sqrt(variance + EPS) · w + bias, the mean 0 when
// CENTRED is false.
//
// x, y [rows, K] f32
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
  var mean = 0.0;
  if (CENTRED) {
    var part = 0.0;
    for (var k = invocation.index; k < K; k += INVOCATIONS) {
      part += x[row * K + k];
    }
    sum_share(0u, part, invocation);
    sum_join(invocation);
    mean = sum_result(0u, invocation) / f32(K);
    workgroupBarrier();
  }
  var square = 0.0;
  for (var k = invocation.index; k < K; k += INVOCATIONS) {
    let centred = x[row * K + k] - mean;
    square += centred * centred;
  }
  sum_share(0u, square, invocation);
  sum_join(invocation);
  let scale = inverseSqrt(sum_result(0u, invocation) / f32(K) + EPS);
  for (var k = invocation.index; k < K; k += INVOCATIONS) {
    y[row * K + k] = (x[row * K + k] - mean) * scale * weight_at(k) + bias_at(k);
  }
}
