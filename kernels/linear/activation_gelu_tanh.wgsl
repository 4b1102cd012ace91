//@fragment linear/activation_gelu_tanh
//@gives activation
fn activation(x: f32) -> f32 {
  // Beyond ±15 tanh is ±1 in f32; some drivers overflow inside tanh for large arguments.
  let inner = 0.7978845608 * fma(0.044715 * x * x, x, x);
  return 0.5 * x * (1.0 + tanh(clamp(inner, -15.0, 15.0)));
}
