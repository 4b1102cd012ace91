//@fragment moe/algorithms/expert_plain
//@needs activation
//@gives expert_activation
// An expert without a gate: `first` comes from w1; there is no second product.
fn expert_activation(first: f32, second: f32) -> f32 {
  return activation(first);
}
