// y[m, n] = Σ_k x[m, k] · w[n, k] + bias[n], with w in bf16 pairs: one invocation makes one element, straight
// from memory. For a software adapter, where tiles in workgroup memory cost barriers and save
// nothing.
// Prelude: N, K (K even), EXPERT_WORDS and FIRST_WORD (of the matrix in an expert's words).

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> part: Part;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let n = id.x;
  let m = id.y;
  if (m >= part.rows || n >= N) {
    return;
  }
  let row = part.expert * EXPERT_WORDS + FIRST_WORD + n * (K / 2u);
  var sum = 0.0;
  for (var i = 0u; i < K / 2u; i++) {
    let pair = w[row + i];
    let at = m * K + 2u * i;
    sum += x[at] * bitcast<f32>(pair << 16u) + x[at + 1u] * bitcast<f32>(pair & 0xffff0000u);
  }
  y[m * N + n] = sum + bias(n);
}
