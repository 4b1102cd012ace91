// A bias of this expert's output n. Prelude: BIAS_STRIDE, BIAS_FIRST.
@group(0) @binding(4) var<storage, read> biases: array<f32>;

fn bias(n: u32) -> f32 {
  return biases[part.expert * BIAS_STRIDE + BIAS_FIRST + n];
}
