//@fragment linear/activation_tanh
//@gives activation
fn activation(x: f32) -> f32 {
  return tanh(clamp(x, -15.0, 15.0));
}
