//@fragment linear/activation_relu
//@gives activation
fn activation(x: f32) -> f32 {
  return max(x, 0.0);
}
