//@fragment linear/activation_gelu
//@needs erfc
//@gives activation
// x · Φ(x)
fn activation(x: f32) -> f32 {
  return 0.5 * x * erfc(-0.70710678 * x);
}
