//@fragment linear/post_norm_branches
//@needs K EPS w_sum Invocation inner_share inner_join inner_result
//@gives branch_norm branch_weight
// The sum of two normed branches, which is normed itself.
fn branch_norm(square: f32, invocation: Invocation) -> f32 {
  inner_share(0u, square, invocation);
  inner_join(invocation);
  return inverseSqrt(inner_result(0u, invocation) / f32(K) + EPS);
}

fn branch_weight(k: u32) -> f32 {
  return w_sum[k];
}
