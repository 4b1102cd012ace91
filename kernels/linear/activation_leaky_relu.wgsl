//@fragment linear/activation_leaky_relu
//@gives activation
fn activation(x: f32) -> f32 {
  return max(x, 0.01 * x);
}
