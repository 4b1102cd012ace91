// Independent chains of vec4 fused multiply-adds: the device's f32 arithmetic ceiling.
//
// input  [1] vec4<f32>: multiplier and addend, from memory so that nothing folds at compile time
// result [threads] f32, written only at a value the chains never reach
//
// Workgroup: 256 threads; a thread runs 4 chains, each of 4 fma on 4 lanes a round.
// Prelude: ROUNDS.

@group(0) @binding(0) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> result: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let m = vec4(input[0].x);
  let c = vec4(input[0].y);
  // Starting points differ by chain and thread: equal chains would be merged.
  var a = vec4(f32(id.x % 61u) * 0.01 + 0.1);
  var b = vec4(f32(id.x % 61u) * 0.02 + 0.47);
  var d = vec4(f32(id.x % 61u) * 0.03 + 0.84);
  var e = vec4(f32(id.x % 61u) * 0.04 + 1.21);
  for (var round = 0u; round < ROUNDS; round++) {
    a = fma(a, m, c); b = fma(b, m, c); d = fma(d, m, c); e = fma(e, m, c);
    a = fma(a, m, c); b = fma(b, m, c); d = fma(d, m, c); e = fma(e, m, c);
    a = fma(a, m, c); b = fma(b, m, c); d = fma(d, m, c); e = fma(e, m, c);
    a = fma(a, m, c); b = fma(b, m, c); d = fma(d, m, c); e = fma(e, m, c);
  }
  let sum = a + b + d + e;
  if (dot(sum, vec4(1.0)) == 12345.0) {
    result[id.x % 256u] = sum.x;
  }
}
