//@fragment attention/mla/query_norm
//@needs INVOCATIONS RANK Q_WIDTH Q_FIRST Q_EPS Invocation q q_norm normed sum_share sum_join sum_result
// Norms the latents of queries, which are columns of a wider value.
//
// q [T, Q_WIDTH] f32, columns Q_FIRST to Q_FIRST + RANK - 1; normed [T, RANK] f32
// Grid: token.

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let first = group.x * Q_WIDTH + Q_FIRST;
  var square = 0.0;
  for (var i = invocation.index; i < RANK; i += INVOCATIONS) {
    square += q[first + i] * q[first + i];
  }
  sum_share(0u, square, invocation);
  sum_join(invocation);
  let scale = inverseSqrt(sum_result(0u, invocation) / f32(RANK) + Q_EPS);
  for (var i = invocation.index; i < RANK; i += INVOCATIONS) {
    normed[group.x * RANK + i] = q[first + i] * scale * q_norm[i];
  }
}
