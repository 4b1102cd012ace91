//@fragment moe/algorithms/expert_swiglu_oai
//@needs LIMIT ALPHA
//@gives expert_activation
// gpt-oss: (clamp(up, ±limit) + 1) · g · sigmoid(alpha · g) with g = min(gate, limit).
fn expert_activation(first: f32, second: f32) -> f32 {
  let gate = min(second, LIMIT);
  let up = clamp(first, -LIMIT, LIMIT);
  return (up + 1.0) * (gate / (1.0 + exp(min(-ALPHA * gate, 80.0))));
}
