//@fragment linear/activation_silu
//@gives activation
fn activation(x: f32) -> f32 {
  // exp is kept from overflowing: past 80 the quotient is 0 to every digit anyway.
  return x / (1.0 + exp(min(-x, 80.0)));
}
