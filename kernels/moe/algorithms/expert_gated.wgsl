//@fragment moe/algorithms/expert_gated
//@needs activation
//@gives expert_activation
// What an expert does between its two products: `first` comes from w3 (up), `second` from w1 (gate).
fn expert_activation(first: f32, second: f32) -> f32 {
  return activation(second) * first;
}
