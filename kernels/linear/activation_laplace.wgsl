//@fragment linear/activation_laplace
//@needs erfc
//@gives activation
// (1 + erf(z)) / 2 with z = (x - 0.707107) / (0.282095 √2), as in transformers
fn activation(x: f32) -> f32 {
  return 0.5 * erfc((0.707107 - x) / (0.282095 * 1.41421356));
}
