//@fragment linear/activation_quick_gelu
//@gives activation
fn activation(x: f32) -> f32 {
  return x / (1.0 + exp(min(-1.702 * x, 80.0)));
}
