//@fragment linear/post_norm_branch
//@needs Invocation
//@gives branch_norm branch_weight
// A branch that is normed once.
fn branch_norm(square: f32, invocation: Invocation) -> f32 {
  return 1.0;
}

fn branch_weight(k: u32) -> f32 {
  return 1.0;
}
