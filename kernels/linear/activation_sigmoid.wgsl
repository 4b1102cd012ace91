//@fragment linear/activation_sigmoid
//@gives activation
fn activation(x: f32) -> f32 {
  return 1.0 / (1.0 + exp(min(-x, 80.0)));
}
