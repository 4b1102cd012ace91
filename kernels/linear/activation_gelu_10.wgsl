//@fragment linear/activation_gelu_10
//@needs erfc
//@gives activation
// gelu, kept within ±10
fn activation(x: f32) -> f32 {
  return clamp(0.5 * x * erfc(-0.70710678 * x), -10.0, 10.0);
}
