// The textbook WebGPU matrix product: y[m, n] = Σ_k x[m, k] · w[n, k] + bias[n], with w in bf16 pairs.
// One workgroup makes a 16 x 16 tile, one thread one element; tiles of x and w go through shared
// memory. No register blocking, no vectors: what a first port has.
// Prelude: N, K (K even), EXPERT_WORDS and FIRST_WORD (of the matrix in an expert's words).

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> part: Part;

var<workgroup> x_tile: array<array<f32, 16>, 16>;
var<workgroup> w_tile: array<array<f32, 16>, 16>;

fn weight(n: u32, k: u32) -> f32 {
  let at = n * K + k;
  let pair = w[part.expert * EXPERT_WORDS + FIRST_WORD + (at >> 1u)];
  return bitcast<f32>(select(pair << 16u, pair & 0xffff0000u, (at & 1u) == 1u));
}

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let m = group.y * 16u + local.y;
  let n = group.x * 16u + local.x;
  var sum = 0.0;
  for (var k = 0u; k < K; k += 16u) {
    let kx = k + local.x;
    x_tile[local.y][local.x] = select(0.0, x[m * K + kx], m < part.rows && kx < K);
    let row = group.x * 16u + local.y;
    if (row < N && kx < K) {
      w_tile[local.y][local.x] = weight(row, kx);
    } else {
      w_tile[local.y][local.x] = 0.0;
    }
    workgroupBarrier();
    for (var i = 0u; i < 16u; i++) {
      sum += x_tile[local.y][i] * w_tile[local.x][i];
    }
    workgroupBarrier();
  }
  if (m < part.rows && n < N) {
    y[m * N + n] = sum + bias(n);
  }
}
