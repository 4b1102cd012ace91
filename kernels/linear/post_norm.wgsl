//@fragment linear/post_norm
//@needs INVOCATIONS ELEMENTS K BRANCHES NEXT EPS NEXT_EPS Invocation rows_of_step residual total
//@needs x_$b w_$b branch_norm branch_weight store_normed scale_at square_share square_join square_result
//@needs sum_share sum_join sum_result
// total[m] = (residual[m] + norm(branches of m)) · scale, and norms of it with other weights.
//
// x_0 (and x_1), residual, total [rows, K] f32; w_0 (and w_1) [K] f32
// Workgroup: INVOCATIONS invocations and one row, of which each holds ELEMENTS numbers.

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
  //@repeat e ELEMENTS
  let own_$e = invocation.index + $e * INVOCATIONS < K;
  let k_$e = min(invocation.index + $e * INVOCATIONS, K - 1u);
  let residual_$e = residual[row * K + k_$e];
  //@repeat b BRANCHES
  let value_$b_$e = select(0.0, x_$b[row * K + k_$e], own_$e);
  let weight_$b_$e = w_$b[k_$e];
  //@end
  //@end
  //@repeat b BRANCHES
  {
    var square = 0.0;
    //@repeat e ELEMENTS
    square += value_$b_$e * value_$b_$e;
    //@end
    square_share($b, square, invocation);
  }
  //@end
  square_join(invocation);
  //@repeat b BRANCHES
  let scale_$b = inverseSqrt(square_result($b, invocation) / f32(K) + EPS);
  //@end
  //@repeat e ELEMENTS
  var branch_$e = 0.0;
  //@repeat b BRANCHES
  branch_$e += value_$b_$e * scale_$b * weight_$b_$e;
  //@end
  //@end
  let inner = branch_norm(
    //@repeat e ELEMENTS
    branch_$e * branch_$e +
    //@end
    0.0,
    invocation,
  );
  var square = 0.0;
  //@repeat e ELEMENTS
  let total_$e = (residual_$e + branch_$e * inner * branch_weight(k_$e)) * scale_at(0u);
  if (own_$e) {
    total[row * K + k_$e] = total_$e;
    square += total_$e * total_$e;
  }
  //@end
  if (NEXT == 0u) {
    return;
  }
  sum_share(0u, square, invocation);
  sum_join(invocation);
  let outer = inverseSqrt(sum_result(0u, invocation) / f32(K) + NEXT_EPS);
  //@repeat e ELEMENTS
  if (own_$e) {
    store_normed(row * K + k_$e, k_$e, total_$e * outer);
  }
  //@end
}
