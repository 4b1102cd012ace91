const INVOCATIONS = 128u;
const RANK = 768u;
const Q_WIDTH = 1344u;
const Q_FIRST = 0u;
const Q_EPS = 9.999999974752427e-7f;
const SUMS = 1u;

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> q_norm: array<f32>;
@group(0) @binding(2) var<storage, read_write> normed: array<f32>;

// The invocations of a workgroup, where subgroups may be used. Nothing is assumed about the size of
// subgroups but that they have 8 invocations or more.
const MAX_SUBGROUPS = max(1u, INVOCATIONS / 8u);

struct Invocation {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) in_subgroup: u32,
}

fn add(a: f32, b: f32) -> f32 {
  return a + b;
}

// Combines SUMS numbers over all invocations: every invocation puts its share of each, then
// sum_join (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// subgroupAdd is subgroupAdd or subgroupMax, add the same for two numbers.
var<workgroup> sum_shares: array<f32, SUMS * MAX_SUBGROUPS>;

fn sum_share(slot: u32, value: f32, invocation: Invocation) {
  let share = subgroupAdd(value);
  if (invocation.in_subgroup == 0u) {
    sum_shares[invocation.subgroup * SUMS + slot] = share;
  }
}

fn sum_join(invocation: Invocation) {
  workgroupBarrier();
}

fn sum_result(slot: u32, invocation: Invocation) -> f32 {
  var result = sum_shares[slot];
  for (var s = 1u; s < invocation.subgroups; s++) {
    result = add(result, sum_shares[s * SUMS + slot]);
  }
  return result;
}

// Norms the latents of queries, which are columns of a wider value.
//
// q [T, Q_WIDTH] f32, columns Q_FIRST to Q_FIRST + RANK - 1; normed [T, RANK] f32
// Grid: token.

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let first = group.x * Q_WIDTH + Q_FIRST;
  var square = 0.0;
  for (var i = invocation.index; i < RANK; i += INVOCATIONS) {
    square += q[first + i] * q[first + i];
  }
  sum_share(0u, square, invocation);
  sum_join(invocation);
  let scale = inverseSqrt(sum_result(0u, invocation) / f32(RANK) + Q_EPS);
  for (var i = invocation.index; i < RANK; i += INVOCATIONS) {
    normed[group.x * RANK + i] = q[first + i] * scale * q_norm[i];
  }
}
