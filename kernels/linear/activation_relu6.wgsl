//@fragment linear/activation_relu6
//@gives activation
fn activation(x: f32) -> f32 {
  return clamp(x, 0.0, 6.0);
}
