//@fragment linear/activation_mish
//@gives activation
// With n = eˣ, tanh(log(1 + n)) is n (n + 2) / (n (n + 2) + 2); past 20 it is 1 to every digit.
fn activation(x: f32) -> f32 {
  let n = exp(min(x, 20.0));
  let m = n * (n + 2.0);
  return x * (m / (m + 2.0));
}
