// Experts by one invocation for each number. `up` makes act(w1 x) * (w3 x) of every pair of token and
// slot, `down` the weighted sum over the slots of a token.

override EXPERTS: u32;
override TOP_K: u32;
override HIDDEN: u32;
override INTERMEDIATE: u32;
override RESIDUAL: bool = false;

@group(0) @binding(0) var<uniform> step: vec4<u32>; // tokens first
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> experts: array<i32>;
@group(0) @binding(3) var<storage, read> weights: array<u32>; // two bf16 a word, the first one low
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> factors: array<f32>;
@group(0) @binding(6) var<storage, read> residual: array<f32>;

fn weight(index: u32) -> f32 {
  let word = weights[index / 2u];
  return bitcast<f32>(select(word << 16u, word & 0xffff0000u, index % 2u == 1u));
}

fn row(id: vec3<u32>, groups: vec3<u32>) -> u32 {
  return id.x + id.y * groups.x * 64u;
}

// x: [T, H]; weights: [E, 2I, H], rows of up before rows of gate; y: [T * K, I].
fn up(at: u32) {
  if (at >= step.x * TOP_K * INTERMEDIATE) { return; }
  let pair = at / INTERMEDIATE;
  let expert = experts[pair];
  if (expert < 0 || u32(expert) >= EXPERTS) { y[at] = 0.0; return; }
  let first = (u32(expert) * 2u * INTERMEDIATE + at % INTERMEDIATE) * HIDDEN;
  var sums = vec2<f32>();
  for (var h = 0u; h < HIDDEN; h++) {
    let value = x[(pair / TOP_K) * HIDDEN + h];
    sums += value * vec2(weight(first + h), weight(first + INTERMEDIATE * HIDDEN + h));
  }
  y[at] = sums.x * sums.y / (1.0 + exp(-sums.y));
}

// x: [T * K, I]; weights: [E, H, I]; y: [T, H].
fn down(at: u32) {
  if (at >= step.x * HIDDEN) { return; }
  let token = at / HIDDEN;
  var sum = 0.0;
  if (RESIDUAL) { sum = residual[at]; }
  for (var slot = 0u; slot < TOP_K; slot++) {
    let pair = token * TOP_K + slot;
    let expert = experts[pair];
    if (expert < 0 || u32(expert) >= EXPERTS) { continue; }
    let first = (u32(expert) * HIDDEN + at % HIDDEN) * INTERMEDIATE;
    var dot = 0.0;
    for (var i = 0u; i < INTERMEDIATE; i++) { dot += x[pair * INTERMEDIATE + i] * weight(first + i); }
    sum += factors[pair] * dot;
  }
  y[at] = sum;
}

override DOWN: bool;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  if (DOWN) { down(row(id, groups)); } else { up(row(id, groups)); }
}
