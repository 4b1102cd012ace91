//@fragment linear/activation_relu2
//@gives activation
fn activation(x: f32) -> f32 {
  let positive = max(x, 0.0);
  return positive * positive;
}
